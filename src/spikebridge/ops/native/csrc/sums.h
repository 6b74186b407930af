/* A chunk of sums through all its steps, each read and written once. Included once for every set of instructions, with
   NAME() giving the functions names of their own; so there is no include guard.

   The order of the operations is that of the step functions of hybrid/: numbers are equal to the bit. */

/* `many` steps, a constant of the compiler: the state stays in registers from one of them to the next. */
INLINE void NAME(sums_rows)(const SumRows *all, const int rows, const int form, const int many)
{
    const float *restrict decays = all->decay, *restrict factors = all->factor;
    float *restrict firsts = all->first, *restrict seconds = all->second;
    const float one_decay = *decays, one_factor = *factors;
    const int has_second = form == SUM_BACKWARD_AND_SLOPE || form == ALPHA || form == ALPHA_BACKWARD;
    const SumRows at = *all;

    INDEPENDENT
    for (int64_t c = 0; c < at.num_columns; c++) {
        const float decay = rows ? decays[c] : one_decay, factor = rows ? factors[c] : one_factor;
        float first = firsts[c], second = has_second ? seconds[c] : 0.0f;
        for (int k = 0; k < many; k++) {
            const float x = at.x[k][c];
            float output;
            if (form == SUM) {
                output = first = first * decay + x;
            } else if (form == SUM_BACKWARD || form == SUM_BACKWARD_AND_SLOPE) {
                output = first + x;
                first = output * decay;
                if (form == SUM_BACKWARD_AND_SLOPE)
                    second += output * at.before[k][c];
            } else if (form == MEAN) {
                first = first + x;
                output = first / (factor + at.steps[k]);
            } else if (form == MEAN_BACKWARD) {
                output = first = first + x / (factor + at.steps[k]);
            } else if (form == ALPHA) {
                second = (second + first) * decay;
                output = second * factor;
                first = first * decay + x;
            } else {
                output = first;
                second = (second + x * factor) * decay;
                first = first * decay + second;
            }
            at.y[k][c] = output;
        }
        firsts[c] = first;
        if (has_second)
            seconds[c] = second;
    }
}

#if defined(__GNUC__)
typedef float NAME(Vector) __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

/* The decays of MANY vectors of columns. */
INLINE void NAME(read_decays)(NAME(Vector) *decay, const float *decays, const int rows)
{
    for (int k = 0; k < MANY; k++) {
        if (rows)
            decay[k] = *(const NAME(Vector) *)(decays + k * LANES);
        else
            decay[k] = (NAME(Vector)){0} + *decays;
    }
}
#endif

/* Forms of which only the last values count: some columns through all steps, their state in registers, then the next. */
INLINE void NAME(last_chunk)(const LeakySum *job, Chunk *chunk, const int rows, const int form)
{
    const int64_t num_steps = job->plan.num_steps, n = chunk->num_columns, step = job->x.step;
    const float *x = row_of(&job->x, chunk, 0), *decays = row_at(&job->decay, chunk, 0, NULL);
    float *firsts = in_state(job->first, chunk), *seconds = in_state(job->second, chunk);
    int64_t c = 0;
#if defined(__GNUC__)
    enum { AHEAD = 8 }; /* steps that are prefetched */
    for (; c + MANY * LANES <= n; c += MANY * LANES) {
        NAME(Vector) first[MANY], second[MANY], decay[MANY];
        for (int k = 0; k < MANY; k++)
            first[k] = second[k] = (NAME(Vector)){0};
        NAME(read_decays)(decay, rows ? decays + c : decays, rows);

        for (int64_t t = 0; t < num_steps; t++) {
            const float *x_t = x + t * step + c;
            if (t + AHEAD < num_steps)
                fetch(x_t + AHEAD * step, MANY * LANES);
            for (int k = 0; k < MANY; k++) {
                if (form == LAST_AND_SLOPE)
                    second[k] = second[k] * decay[k] + first[k];
                first[k] = first[k] * decay[k] + *(const NAME(Vector) *)(x_t + k * LANES);
            }
        }

        for (int k = 0; k < MANY; k++) {
            *(NAME(Vector) *)(firsts + c + k * LANES) = first[k];
            if (form == LAST_AND_SLOPE)
                *(NAME(Vector) *)(seconds + c + k * LANES) = second[k];
        }
    }
#endif
    for (; c < n; c++) {
        const float decay = rows ? decays[c] : *decays;
        float first = 0.0f, second = 0.0f;
        for (int64_t t = 0; t < num_steps; t++) {
            second = second * decay + first;
            first = first * decay + x[t * step + c];
        }
        firsts[c] = first;
        if (form == LAST_AND_SLOPE)
            seconds[c] = second;
    }
}

/* The gradient of last values alone, in the same way: each step has that of the next step times the decay. */
INLINE void NAME(decaying_chunk)(const LeakySum *job, Chunk *chunk, const int rows)
{
    const int64_t num_steps = job->plan.num_steps, n = chunk->num_columns, step = job->y.step;
    const int past_caches = is_large(&job->plan);
    const float *decays = row_at(&job->decay, chunk, 0, NULL);
    float *y = row_of(&job->y, chunk, 0), *firsts = begin(take_row(chunk), job->start_first, chunk);
    int64_t c = 0;
#if defined(__GNUC__)
    for (; c + MANY * LANES <= n; c += MANY * LANES) {
        float output[MANY * LANES];
        NAME(Vector) first[MANY], decay[MANY];
        for (int k = 0; k < MANY; k++)
            first[k] = *(const NAME(Vector) *)(firsts + c + k * LANES);
        NAME(read_decays)(decay, rows ? decays + c : decays, rows);

        for (int64_t t = 0; t < num_steps; t++) {
            float *to = past_caches ? output : y + t * step + c;
            for (int k = 0; k < MANY; k++) {
                *(NAME(Vector) *)(to + k * LANES) = first[k];
                first[k] *= decay[k];
            }
            if (past_caches)
                NAME(write_past_caches)(y + t * step + c, output, MANY * LANES);
        }

        for (int k = 0; k < MANY; k++)
            *(NAME(Vector) *)(firsts + c + k * LANES) = first[k];
    }
#endif
    for (int64_t t = 0; c < n && t < num_steps; t++) {
        float *restrict to = y + t * step;
        INDEPENDENT
        for (int64_t k = c; k < n; k++) {
            to[k] = firsts[k];
            firsts[k] *= rows ? decays[k] : *decays;
        }
    }
    write_state(job->first, firsts, chunk);
}

/* A piece of the columns, while those of the next step are prefetched. */
INLINE void NAME(sums_piece)(const SumRows *all, int64_t from, int64_t size, const int rows, const int form,
                             const int past_caches, const int many)
{
    float output[AT_ONCE * PIECE_OF_ROWS];
    SumRows piece = *all;
    piece.num_columns = size;
    piece.first += from;
    piece.second += from;
    if (rows) {
        piece.decay += from;
        piece.factor += from;
    }
    for (int k = 0; k < many; k++) {
        piece.x[k] += from;
        if (form == SUM_BACKWARD_AND_SLOPE)
            piece.before[k] += from;
        piece.y[k] = past_caches ? output + k * PIECE_OF_ROWS : all->y[k] + from;
    }
    for (int k = 0; k < 2; k++)
        if (many == 1 && all->next[k] != NULL)
            fetch(all->next[k] + from, size);

    NAME(sums_rows)(&piece, rows, form, many);
    for (int k = 0; past_caches && k < many; k++)
        NAME(write_past_caches)(all->y[k] + from, output + k * PIECE_OF_ROWS, size);
}

INLINE void NAME(sums_pieces)(const SumRows *all, const int rows, const int form, const int past_caches, const int many)
{
    const int64_t n = all->num_columns;
    int64_t size = form == SUM_BACKWARD_AND_SLOPE ? PIECE / 2 : PIECE; /* that form prefetches two rows at once */
    if (many > 1)
        size = past_caches ? PIECE_OF_ROWS : n;
    for (int64_t c = 0; c < n; c += size)
        NAME(sums_piece)(all, c, n - c < size ? n - c : size, rows, form, past_caches, many);
}

INLINE void NAME(sums_chunk)(const LeakySum *job, Chunk *chunk, const int rows, const int form)
{
    if (form == LAST || form == LAST_AND_SLOPE) {
        NAME(last_chunk)(job, chunk, rows && job->decay.column != 0, form);
        return;
    }
    if (form == SUM_BACKWARD && job->x.at == NULL && job->resets == NULL) {
        NAME(decaying_chunk)(job, chunk, rows && job->decay.column != 0);
        return;
    }

    const int64_t num_steps = job->plan.num_steps, n = chunk->num_columns;
    const int past_caches = is_large(&job->plan), is_mean = form == MEAN || form == MEAN_BACKWARD;
    const int is_backward = form != SUM && form != MEAN && form != ALPHA;
    float *zeros = take_row(chunk);
    fill(zeros, 0.0f, n);
    const float *factor = rows ? as_row(&job->factor, chunk) : row_at(&job->factor, chunk, 0, NULL);
    SumRows row = {.num_columns = n, .first = begin(take_row(chunk), job->start_first, chunk)};
    row.second = begin(take_row(chunk), job->start_second, chunk);
    row.decay = rows ? as_row(&job->decay, chunk) : row_at(&job->decay, chunk, 0, NULL);
    const float *start = job->start == NULL ? zeros : job->start + place(chunk);

    /* long rows run some steps at once; a mean divides, and meanwhile the next row comes from memory */
    const int is_long = n >= LONG_ROW && !(past_caches && is_mean);
    /* short rows that run backward are gathered and written in the order of memory */
    const int64_t block = is_backward && !past_caches && !is_long ? BLOCK_OF_SUMS / n : 0;
    float *const rows_of_block = chunk->scratch;

    int64_t from = is_backward ? beginning(job, num_steps - 1) : 0;
    for (int64_t t = 0, many; t < num_steps; t += many) {
        const int64_t now = is_backward ? num_steps - 1 - t : t; /* the step of the signal */
        if (!is_backward && is_reset(job, now)) {
            clear_state(&row, form);
            from = now;
        }

        for (many = is_long ? AT_ONCE : 1; many > 1 && !is_unbroken(job, t, many, is_backward); many /= 2)
            ;
        for (int64_t k = 0; k < many; k++) {
            const int64_t then = is_backward ? now - k : now + k;
            row.x[k] = job->x.at == NULL ? zeros : row_of(&job->x, chunk, t + k);
            row.y[k] = block > 1 ? rows_of_block + t % block * n : row_of(&job->y, chunk, t + k);
            row.steps[k] = (float)(then - from + 1);
            if (form == SUM_BACKWARD_AND_SLOPE) {
                row.before[k] = then > 0 ? row_of(&job->before, chunk, t + k) : start;
                if (is_reset(job, then))
                    row.before[k] = zeros;
            }
        }
        row.next[0] = t + 1 < num_steps ? row_of(&job->x, chunk, t + 1) : NULL;
        row.next[1] = form == SUM_BACKWARD_AND_SLOPE && now > 1 ? row_of(&job->before, chunk, t + 1) : NULL;
        row.factor = is_mean && is_reset(job, from) ? zeros : factor; /* no steps were before */

        if (many == AT_ONCE)
            NAME(sums_pieces)(&row, rows, form, past_caches, AT_ONCE);
        else if (many == 2)
            NAME(sums_pieces)(&row, rows, form, past_caches, 2);
        else
            NAME(sums_pieces)(&row, rows, form, past_caches, 1);

        if (block > 1 && (t % block == block - 1 || now == 0))
            write_block(&job->y, rows_of_block, chunk, t - t % block, t);
        const int64_t last = now - (many - 1);
        if (is_backward && is_reset(job, last)) {
            clear_state(&row, form);
            from = beginning(job, last - 1);
        }
    }

    write_state(job->first, row.first, chunk);
    write_state(job->second, row.second, chunk);
}

#define SUMS(rows, form) \
    static void NAME(sums_##rows##form)(const LeakySum *job, Chunk *chunk) { NAME(sums_chunk)(job, chunk, rows, form); }
#define SUMS_NAME(rows, form) NAME(sums_##rows##form),

EVERY_FORM(SUMS)

static void (*const NAME(all_sums)[])(const LeakySum *, Chunk *) = {EVERY_FORM(SUMS_NAME)};

#undef SUMS
#undef SUMS_NAME
