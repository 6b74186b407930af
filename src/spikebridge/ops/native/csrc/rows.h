/* One step of a chunk of columns, forward and backward. Included once for every set of instructions, with NAME() giving
   the functions names of their own; so there is no include guard. */

#include "neuron.h"

/* Copies a row with stores that leave the caches as they are; those of whole vectors need aligned memory. */

static void NAME(write_past_caches)(float *to, const float *from, int64_t n)
{
    for (; n > 0 && (uintptr_t)to % (LANES * sizeof(float)) != 0; n--)
        *to++ = *from++;
    for (; n >= LANES; n -= LANES, to += LANES, from += LANES)
        STORE_PAST_CACHES(to, from);
    for (; n > 0; n--)
        *to++ = *from++;
}

#include "sums.h"

/* The parameters of a step. `rows` is a constant of the compiler: a row of numbers, one a column, or one number for all. */
#define READ(K)                                        \
    const float *restrict row_##K = step->values[K]; \
    const float one_##K = *row_##K
#define NUMBER(K) (rows ? row_##K[c] : one_##K)

INLINE void NAME(forward_row)(const Step *step, const int rows, const int has_current, const int adapts,
                              const int reset)
{
    const float *x = step->x;
    float *kept = step->kept; /* may be in the place of x */
    float *restrict y = step->y, *restrict v = step->v, *restrict i = step->i, *restrict a = step->a;
    READ(DECAY);
    READ(V_THRESHOLD);
    READ(V_RESET);
    READ(V_LEAK);
    READ(R);
    READ(DECAY_SYN);
    READ(DECAY_ADAPTATION);
    READ(JUMP);
    READ(BASE);
    EACH_COLUMN(step)
    {
        float current = x[c];
        if (has_current) {
            current = i[c] * NUMBER(DECAY_SYN) + current;
            i[c] = current;
        }
        const float u = NAME(charged)(v[c], NUMBER(DECAY), NUMBER(BASE), NUMBER(V_LEAK), NUMBER(R), current);
        kept[c] = u;
        if (reset == NEVER) {
            v[c] = u;
        } else {
            const float decayed = adapts ? a[c] * NUMBER(DECAY_ADAPTATION) : 0.0f;
            const float threshold = adapts ? NUMBER(V_THRESHOLD) + decayed : NUMBER(V_THRESHOLD);
            const float spike = u - threshold >= 0.0f ? 1.0f : 0.0f;
            y[c] = spike;
            v[c] = NAME(after_reset)(u, spike, threshold, NUMBER(V_RESET), reset);
            if (adapts)
                a[c] = decayed + NUMBER(JUMP) * spike;
        }
    }
}

/* The surrogate: a replacement for the derivative of a spike. `slope` is pi / width. */
INLINE float NAME(derivative)(const float distance, const float width, const float slope, const int surrogate)
{
    const float size = distance < 0.0f ? -distance : distance, height = 1.0f / width;
    if (surrogate == ARCTAN) {
        const float angle = distance * slope;
        return height / (1.0f + angle * angle);
    }
    if (surrogate == RECTANGLE)
        return size <= width / 2.0f ? height : 0.0f;
    if (surrogate == TRIANGLE) {
        const float rest = 1.0f - size * height;
        return (rest < 0.0f ? 0.0f : rest) * height;
    }
    const float base = 1.0f + size * height;
    return 1.0f / (base * base);
}

/* The spikes of a step, computed again, and the derivatives of the surrogate. */
INLINE void NAME(fire_row)(const Step *step, const int rows, const int surrogate)
{
    const float *restrict u = step->kept, *restrict row = step->threshold;
    float *restrict spikes = step->spikes, *restrict derivatives = step->derivatives;
    const float one = *row, width = step->width, slope = step->slope;
    INDEPENDENT
    for (int64_t c = 0; c < step->num_columns; c++) {
        const float distance = u[c] - (rows ? row[c] : one);
        spikes[c] = distance >= 0.0f ? 1.0f : 0.0f;
        if (surrogate != ONLY_SPIKES)
            derivatives[c] = NAME(derivative)(distance, width, slope, surrogate);
    }
}

/* The gradients of a step, from those of the state after it. With a surrogate it computes spikes and derivatives in the same
   loop, and writes no rows for the gradients of parameters; with FIRED it reads rows of both, and writes them. */
INLINE void NAME(backward_row)(const Step *step, const int rows, const int has_current, const int adapts,
                               const int reset, const int surrogate)
{
    const float *u = step->kept;
    float *grad_x = step->grad_x; /* may be in the place of u */
    const float *restrict grad_y = step->grad_y, *restrict thresholds = step->threshold;
    const float *restrict spikes = step->spikes, *restrict derivatives = step->derivatives;
    float *restrict grad_u = step->grad_u, *restrict grad_threshold = step->grad_threshold;
    float *restrict grad_v = step->v, *restrict grad_i = step->i, *restrict grad_a = step->a;
    float *restrict grad_decayed = step->grad_decayed;
    const float through_reset = step->through_reset, one_threshold = *thresholds, width = step->width, slope = step->slope;
    READ(DECAY);
    READ(V_RESET);
    READ(R);
    READ(DECAY_SYN);
    READ(DECAY_ADAPTATION);
    READ(JUMP);
    EACH_COLUMN(step)
    {
        const float later = grad_v[c];
        float before = grad_y[c] + later; /* the gradient of the membrane before the reset */
        if (reset != NEVER) {
            const float threshold = rows ? thresholds[c] : one_threshold, distance = u[c] - threshold;
            const float s = surrogate == FIRED ? spikes[c] : distance >= 0.0f ? 1.0f : 0.0f;
            const float derivative =
                surrogate == FIRED ? derivatives[c] : NAME(derivative)(distance, width, slope, surrogate);
            const float effect = reset == BY_THRESHOLD ? -threshold : NUMBER(V_RESET) - u[c]; /* of the spike */
            float grad_spike = grad_y[c] + through_reset * later * effect;
            if (adapts)
                grad_spike += grad_a[c] * NUMBER(JUMP);
            const float fired = grad_spike * derivative;
            before = reset == BY_THRESHOLD ? fired + later : fired + later * (1.0f - s);
            const float by_threshold = reset == BY_THRESHOLD ? -fired - s * later : -fired;
            if (surrogate == FIRED)
                grad_threshold[c] = by_threshold;
            if (adapts) {
                const float decayed = grad_a[c] + by_threshold;
                grad_decayed[c] = decayed;
                grad_a[c] = decayed * NUMBER(DECAY_ADAPTATION);
            }
        }
        if (surrogate == FIRED)
            grad_u[c] = before;
        grad_v[c] = before * NUMBER(DECAY);
        float grad_current = before * NUMBER(R);
        if (has_current) {
            grad_current += grad_i[c];
            grad_i[c] = grad_current * NUMBER(DECAY_SYN);
        }
        grad_x[c] = grad_current;
    }
}

/* The membrane after the reset minus its resting value one step later: what that step's decay multiplies. */
INLINE void NAME(leaking_row)(const Step *step, const int rows, const int reset)
{
    const float *restrict u = step->kept, *restrict thresholds = step->threshold, *restrict s = step->spikes;
    const float *restrict leaks = step->next_leak;
    float *restrict leaking = step->leaking;
    const float one_threshold = *thresholds, one_leak = *leaks;
    READ(V_RESET);
    INDEPENDENT
    for (int64_t c = 0; c < step->num_columns; c++) {
        float v = u[c];
        if (reset == BY_THRESHOLD)
            v -= s[c] * (rows ? thresholds[c] : one_threshold);
        else if (reset != NEVER)
            v = v * (1.0f - s[c]) + s[c] * NUMBER(V_RESET);
        leaking[c] = v - (rows ? leaks[c] : one_leak);
    }
}

#undef READ
#undef NUMBER

/* In the functions that follow all numbers are rows. */

static void NAME(threshold_row)(const Step *step, const float *restrict a)
{
    const float *restrict rest = step->values[V_THRESHOLD], *restrict decay = step->values[DECAY_ADAPTATION];
    float *restrict adapted = step->adapted;
    INDEPENDENT
    for (int64_t c = 0; c < step->num_columns; c++)
        adapted[c] = rest[c] + a[c] * decay[c];
}

static void NAME(adaptation_row)(const Step *step, const float *restrict a, float *restrict next)
{
    const float *restrict rest = step->values[V_THRESHOLD], *restrict decay = step->values[DECAY_ADAPTATION];
    const float *restrict jump = step->values[JUMP], *restrict u = step->kept;
    INDEPENDENT
    for (int64_t c = 0; c < step->num_columns; c++) {
        const float decayed = a[c] * decay[c];
        const float spike = u[c] - (rest[c] + decayed) >= 0.0f ? 1.0f : 0.0f;
        next[c] = decayed + jump[c] * spike;
    }
}

static void NAME(current_row)(const Step *step, const float *restrict i, float *restrict next)
{
    const float *restrict decay = step->values[DECAY_SYN], *restrict x = step->x;
    INDEPENDENT
    for (int64_t c = 0; c < step->num_columns; c++)
        next[c] = i[c] * decay[c] + x[c];
}

static void NAME(add_row)(float *restrict total, const float *restrict row, int64_t num_columns)
{
    INDEPENDENT
    for (int64_t c = 0; c < num_columns; c++)
        total[c] += row[c];
}

static void NAME(add_product)(float *restrict total, const float *restrict left, const float *restrict right,
                              int64_t num_columns)
{
    INDEPENDENT
    for (int64_t c = 0; c < num_columns; c++)
        total[c] += left[c] * right[c];
}

static void NAME(add_leaked)(float *restrict total, const float *restrict row, const float *restrict decay,
                           int64_t num_columns)
{
    INDEPENDENT
    for (int64_t c = 0; c < num_columns; c++)
        total[c] += row[c] * (1.0f - decay[c]);
}

/* Adds the products of TAPS taps to `many` rows. */
INLINE void NAME(taps_rows)(const TapRows *all, const int rows, const int many, const int begins)
{
    const TapRows at = *all;
    const float one[TAPS] = {*at.taps[0], *at.taps[1], *at.taps[2], *at.taps[3]};
    INDEPENDENT
    for (int64_t c = 0; c < at.num_columns; c++) {
        float tap[TAPS];
        for (int k = 0; k < TAPS; k++)
            tap[k] = rows ? at.taps[k][c] : one[k];
        for (int j = 0; j < many; j++) {
            const float sum = (tap[0] * at.x[j + 3][c] + tap[1] * at.x[j + 2][c]) +
                              (tap[2] * at.x[j + 1][c] + tap[3] * at.x[j][c]);
            at.y[j][c] = begins ? sum : at.y[j][c] + sum;
        }
    }
}

#define TAP_ROWS(rows, many)                                  \
    static void NAME(taps_##rows##many)(const TapRows *all)   \
    {                                                         \
        if (all->begins)                                      \
            NAME(taps_rows)(all, rows, many, 1);              \
        else                                                  \
            NAME(taps_rows)(all, rows, many, 0);              \
    }
TAP_ROWS(0, 1)
TAP_ROWS(0, 4)
TAP_ROWS(1, 1)
TAP_ROWS(1, 4)
#undef TAP_ROWS

/* The largest value of each window. The compiler has to know its sides to keep the values in registers. */
INLINE void NAME(pool_windows)(const Pooling *pooling, const float *restrict spikes, float *restrict pooled,
                               const int size_y, const int size_x)
{
    const int64_t channels = pooling->channels, line = pooling->width * channels;
    for (int64_t x = 0; x < pooling->width / size_x; x++, spikes += size_x * channels, pooled += channels) {
        INDEPENDENT
        for (int64_t c = 0; c < channels; c++) {
            float largest = spikes[c];
            for (int y = 0; y < size_y; y++)
                for (int k = 0; k < size_x; k++) {
                    const float next = spikes[y * line + k * channels + c];
                    largest = next > largest ? next : largest;
                }
            pooled[c] = largest;
        }
    }
}

/* The gradient of a window goes to its first spike, or without one to its first place, as in PyTorch's pooling. */
INLINE void NAME(unpool_windows)(const Pooling *pooling, const float *restrict spikes, const float *restrict gradient,
                                 float *restrict grad_y, const int size_y, const int size_x)
{
    const int64_t channels = pooling->channels, line = pooling->width * channels, step = size_x * channels;
    for (int64_t x = 0; x < pooling->width / size_x; x++, spikes += step, grad_y += step, gradient += channels) {
        INDEPENDENT
        for (int64_t c = 0; c < channels; c++) {
            float rest = gradient[c];
            for (int y = 0; y < size_y; y++)
                for (int k = 0; k < size_x; k++) {
                    const int64_t place = y * line + k * channels + c;
                    const int fired = spikes[place] != 0.0f;
                    grad_y[place] = fired ? rest : 0.0f;
                    rest = fired ? 0.0f : rest;
                }
            grad_y[c] += rest;
        }
    }
}

#define FOR_SIZE(run, ...)                                                                 \
    do {                                                                                   \
        if (pooling->size_y == 2 && pooling->size_x == 2)                                  \
            NAME(run)(pooling, __VA_ARGS__, 2, 2);                                         \
        else if (pooling->size_y == 3 && pooling->size_x == 3)                             \
            NAME(run)(pooling, __VA_ARGS__, 3, 3);                                         \
        else                                                                               \
            NAME(run)(pooling, __VA_ARGS__, (int)pooling->size_y, (int)pooling->size_x);   \
    } while (0)

static void NAME(pool_row)(const Pooling *pooling, const float *spikes, float *pooled)
{
    FOR_SIZE(pool_windows, spikes, pooled);
}

static void NAME(unpool_row)(const Pooling *pooling, const float *spikes, const float *gradient, float *grad_y)
{
    FOR_SIZE(unpool_windows, spikes, gradient, grad_y);
}

#undef FOR_SIZE

/* A function for every kind of row, which the compiler has to know, and the tables of them. */

#define FORWARD(rows, current, adapts, reset)                                                  \
    static void NAME(forward_##rows##current##adapts##reset)(const Step *step)                 \
    {                                                                                          \
        NAME(forward_row)(step, rows, current, adapts, reset);                                 \
    }
#define BACKWARD(rows, current, adapts, reset)                                                 \
    static void NAME(backward_##rows##current##adapts##reset)(const Step *step)                \
    {                                                                                          \
        NAME(backward_row)(step, rows, current, adapts, reset, FIRED);                         \
    }
#define BACKWARD_ONLY(rows, current, reset, surrogate)                                         \
    static void NAME(backward_only_##rows##current##reset##surrogate)(const Step *step)        \
    {                                                                                          \
        NAME(backward_row)(step, rows, current, 0, reset, surrogate);                          \
    }
#define FIRE(rows, surrogate)                                                                  \
    static void NAME(fire_##rows##surrogate)(const Step *step) { NAME(fire_row)(step, rows, surrogate); }
#define LEAKING(rows, reset)                                                                   \
    static void NAME(leaking_##rows##reset)(const Step *step) { NAME(leaking_row)(step, rows, reset); }
#define FORWARD_NAME(rows, current, adapts, reset) NAME(forward_##rows##current##adapts##reset),
#define BACKWARD_NAME(rows, current, adapts, reset) NAME(backward_##rows##current##adapts##reset),
#define FIRE_NAME(rows, surrogate) NAME(fire_##rows##surrogate),
#define BACKWARD_ONLY_NAME(rows, current, reset, surrogate) NAME(backward_only_##rows##current##reset##surrogate),
#define LEAKING_NAME(rows, reset) NAME(leaking_##rows##reset),

EVERY_NEURON(FORWARD)
EVERY_NEURON(BACKWARD)
EVERY_BACKWARD_ONLY(BACKWARD_ONLY)
EVERY_PAIR(FIRE)
FIRE(0, 4)
FIRE(1, 4)
EVERY_PAIR(LEAKING)

static const Rows NAME(all_rows) = {
    .forward = {EVERY_NEURON(FORWARD_NAME)},
    .backward = {EVERY_NEURON(BACKWARD_NAME)},
    .backward_only = {EVERY_BACKWARD_ONLY(BACKWARD_ONLY_NAME)},
    .fire = {EVERY_PAIR(FIRE_NAME)},
    .spikes = {FIRE_NAME(0, 4) FIRE_NAME(1, 4)},
    .leaking = {EVERY_PAIR(LEAKING_NAME)},
    .threshold = NAME(threshold_row),
    .adaptation = NAME(adaptation_row),
    .current = NAME(current_row),
    .pool = NAME(pool_row),
    .unpool = NAME(unpool_row),
    .add_row = NAME(add_row),
    .add_product = NAME(add_product),
    .add_leaked = NAME(add_leaked),
    .taps = {NAME(taps_01), NAME(taps_04), NAME(taps_11), NAME(taps_14)},
    .sums = NAME(all_sums),
    .write_past_caches = NAME(write_past_caches),
};

#undef FORWARD
#undef BACKWARD
#undef BACKWARD_ONLY
#undef FIRE
#undef LEAKING
#undef FORWARD_NAME
#undef BACKWARD_NAME
#undef BACKWARD_ONLY_NAME
#undef FIRE_NAME
#undef LEAKING_NAME
#undef NAME
#undef LANES
#undef STORE_PAST_CACHES
