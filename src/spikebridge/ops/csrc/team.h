/* How threads of a team share pieces of work: each takes the next one that nobody has taken yet. */
#ifndef SPIKEBRIDGE_TEAM_H
#define SPIKEBRIDGE_TEAM_H

#include <stdint.h>

static inline int64_t take_next(int64_t *next)
{
#if defined(__GNUC__)
    return __atomic_fetch_add(next, 1, __ATOMIC_RELAXED);
#else
    return (*next)++; /* without a team there is one thread */
#endif
}

#endif
