/* Pieces of work that the threads of a team share: each thread takes the next free one. */
#ifndef SPIKEBRIDGE_TEAM_H
#define SPIKEBRIDGE_TEAM_H

#include <stddef.h>

#include "native.h"

/* The number of the next free piece. */
static inline int64_t take_next(int64_t *next)
{
#if defined(__GNUC__)
    return __atomic_fetch_add(next, 1, __ATOMIC_RELAXED);
#else
    return (*next)++; /* there is one thread */
#endif
}

/* Runs a function in `num_threads` threads of a team, or in this thread alone. */
static inline void run_together(Team team, int64_t num_threads, void (*work)(void *), void *data)
{
#if defined(__GNUC__)
    if (team != NULL && num_threads > 1) {
        team(work, data, (unsigned)num_threads, 0);
        return;
    }
#else
    (void)team, (void)num_threads;
#endif
    work(data);
}

#endif
