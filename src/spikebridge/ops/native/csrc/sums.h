/* A chunk of sums through all its steps, each read and written once. Included once for every set of instructions, with
   NAME() giving the functions names of their own; so there is no include guard.

   The order of the operations is that of the step functions of hybrid/: their results are met to the bit. */

/* `many` steps, known to the compiler: what is remembered stays in registers from one of them to the next. */
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
            float given;
            if (form == SUM) {
                given = first = first * decay + x;
            } else if (form == SUM_BACKWARD || form == SUM_BACKWARD_AND_SLOPE) {
                given = first + x;
                first = given * decay;
                if (form == SUM_BACKWARD_AND_SLOPE)
                    second += given * at.before[k][c];
            } else if (form == MEAN) {
                first = first + x;
                given = first / (factor + at.steps[k]);
            } else if (form == MEAN_BACKWARD) {
                given = first = first + x / (factor + at.steps[k]);
            } else if (form == ALPHA) {
                second = (second + first) * decay;
                given = second * factor;
                first = first * decay + x;
            } else {
                given = first;
                second = (second + x * factor) * decay;
                first = first * decay + second;
            }
            at.y[k][c] = given;
        }
        firsts[c] = first;
        if (has_second)
            seconds[c] = second;
    }
}

/* Forms of which only the last values count stay in registers: some columns through all steps, then the next. */
INLINE void NAME(last_chunk)(const LeakySum *job, Chunk *chunk, const int rows, const int form)
{
    const int64_t num_steps = job->plan.num_steps, n = chunk->num_columns, step = job->x.step;
    const float *x = row_of(&job->x, chunk, 0), *decays = row_at(&job->decay, chunk, 0, NULL);
    float *firsts = in_memory(job->first, chunk), *seconds = in_memory(job->second, chunk);
    int64_t c = 0;
#if defined(__GNUC__)
    enum { MANY = 8, AHEAD = 8 }; /* vectors; steps */
    typedef float Lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
    for (; c + MANY * LANES <= n; c += MANY * LANES) {
        Lanes first[MANY], second[MANY], decay[MANY];
        for (int k = 0; k < MANY; k++) {
            first[k] = second[k] = (Lanes){0};
            if (rows)
                decay[k] = *(const Lanes *)(decays + c + k * LANES);
            else
                decay[k] = (Lanes){0} + *decays;
        }
        for (int64_t t = 0; t < num_steps; t++) {
            const float *now = x + t * step + c;
            if (t + AHEAD < num_steps)
                fetch(now + AHEAD * step, MANY * LANES);
            for (int k = 0; k < MANY; k++) {
                if (form == LAST_AND_SLOPE)
                    second[k] = second[k] * decay[k] + first[k];
                first[k] = first[k] * decay[k] + *(const Lanes *)(now + k * LANES);
            }
        }
        for (int k = 0; k < MANY; k++) {
            *(Lanes *)(firsts + c + k * LANES) = first[k];
            if (form == LAST_AND_SLOPE)
                *(Lanes *)(seconds + c + k * LANES) = second[k];
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

/* The gradient of last values alone stays there, too: a step has what a decay leaves of that of the next. */
INLINE void NAME(faded_chunk)(const LeakySum *job, Chunk *chunk, const int rows)
{
    const int64_t num_steps = job->plan.num_steps, n = chunk->num_columns, step = job->y.step;
    const int past = is_large(&job->plan);
    const float *decays = row_at(&job->decay, chunk, 0, NULL);
    float *y = row_of(&job->y, chunk, 0), *firsts = begin(take_row(chunk), job->start_first, chunk);
    int64_t c = 0;
#if defined(__GNUC__)
    enum { MANY = 8 }; /* vectors */
    typedef float Lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
    for (; c + MANY * LANES <= n; c += MANY * LANES) {
        float given[MANY * LANES];
        Lanes first[MANY], decay[MANY];
        for (int k = 0; k < MANY; k++) {
            first[k] = *(const Lanes *)(firsts + c + k * LANES);
            if (rows)
                decay[k] = *(const Lanes *)(decays + c + k * LANES);
            else
                decay[k] = (Lanes){0} + *decays;
        }
        for (int64_t t = 0; t < num_steps; t++) {
            float *to = past ? given : y + t * step + c;
            for (int k = 0; k < MANY; k++) {
                *(Lanes *)(to + k * LANES) = first[k];
                first[k] *= decay[k];
            }
            if (past)
                NAME(write_past_caches)(y + t * step + c, given, MANY * LANES);
        }
        for (int k = 0; k < MANY; k++)
            *(Lanes *)(firsts + c + k * LANES) = first[k];
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
    give(job->first, firsts, chunk);
}

/* The columns from a certain one on, as many as a piece has, while those of the next step are asked for. */
INLINE void NAME(sums_piece)(
    const SumRows *all, int64_t from, int64_t size, const int rows, const int form, const int past, const int many)
{
    float given[AT_ONCE * PIECE_OF_ROWS];
    SumRows piece = *all;
    piece.num_columns = size;
    piece.first += from, piece.second += from;
    if (rows)
        piece.decay += from, piece.factor += from;
    for (int k = 0; k < many; k++) {
        piece.x[k] += from;
        if (form == SUM_BACKWARD_AND_SLOPE)
            piece.before[k] += from;
        piece.y[k] = past ? given + k * PIECE_OF_ROWS : all->y[k] + from;
    }
    for (int k = 0; k < 2; k++)
        if (many == 1 && all->soon[k] != NULL)
            fetch(all->soon[k] + from, size);
    NAME(sums_rows)(&piece, rows, form, many);
    for (int k = 0; past && k < many; k++)
        NAME(write_past_caches)(all->y[k] + from, given + k * PIECE_OF_ROWS, size);
}

INLINE void NAME(sums_pieces)(const SumRows *all, const int rows, const int form, const int past, const int many)
{
    const int64_t n = all->num_columns;
    int64_t size = form == SUM_BACKWARD_AND_SLOPE ? PIECE / 2 : PIECE; /* it prefetches two rows at once */
    if (many > 1)
        size = past ? PIECE_OF_ROWS : n;
    for (int64_t c = 0; c < n; c += size)
        NAME(sums_piece)(all, c, n - c < size ? n - c : size, rows, form, past, many);
}

INLINE void NAME(sums_chunk)(const LeakySum *job, Chunk *chunk, const int rows, const int form)
{
    if (form == LAST || form == LAST_AND_SLOPE) {
        NAME(last_chunk)(job, chunk, rows && job->decay.column != 0, form);
        return;
    }
    if (form == SUM_BACKWARD && job->x.at == NULL && job->anew == NULL) {
        NAME(faded_chunk)(job, chunk, rows && job->decay.column != 0);
        return;
    }
    const int64_t num_steps = job->plan.num_steps, n = chunk->num_columns;
    const int past = is_large(&job->plan), means = form == MEAN || form == MEAN_BACKWARD;
    const int backwards = form != SUM && form != MEAN && form != ALPHA;
    float *zeros = take_row(chunk);
    fill(zeros, 0.0f, n);
    const float *factor = rows ? as_row(&job->factor, chunk) : row_at(&job->factor, chunk, 0, NULL);
    SumRows row = {.num_columns = n, .first = begin(take_row(chunk), job->start_first, chunk)};
    row.second = begin(take_row(chunk), job->start_second, chunk);
    row.decay = rows ? as_row(&job->decay, chunk) : row_at(&job->decay, chunk, 0, NULL);
    const int is_long = n >= LONG_ROW && !(past && means); /* while it divides, a next row comes */
    const int64_t block = backwards && !past && !is_long ? BLOCK_OF_SUMS / n : 0;
    float *const rows_of_block = chunk->scratch;
    const float *start = job->start == NULL ? zeros : job->start + place(chunk);
    int64_t from = backwards ? beginning(job, num_steps - 1) : 0;
    for (int64_t t = 0, many; t < num_steps; t += many) {
        const int64_t now = backwards ? num_steps - 1 - t : t;
        if (!backwards && begins_anew(job, now)) {
            forget(&row, form);
            from = now;
        }
        for (many = is_long ? AT_ONCE : 1; many > 1 && !follow(job, t, many, backwards); many /= 2)
            ;
        for (int64_t k = 0; k < many; k++) {
            const int64_t then = backwards ? now - k : now + k;
            row.x[k] = job->x.at == NULL ? zeros : row_of(&job->x, chunk, t + k);
            row.y[k] = block > 1 ? rows_of_block + t % block * n : row_of(&job->y, chunk, t + k);
            row.steps[k] = (float)(then - from + 1);
            if (form == SUM_BACKWARD_AND_SLOPE) {
                row.before[k] = then > 0 ? row_of(&job->before, chunk, t + k) : start;
                if (begins_anew(job, then))
                    row.before[k] = zeros;
            }
        }
        row.soon[0] = t + 1 < num_steps ? row_of(&job->x, chunk, t + 1) : NULL;
        row.soon[1] = form == SUM_BACKWARD_AND_SLOPE && now > 1 ? row_of(&job->before, chunk, t + 1) : NULL;
        row.factor = means && begins_anew(job, from) ? zeros : factor; /* no steps were before */
        if (many == AT_ONCE)
            NAME(sums_pieces)(&row, rows, form, past, AT_ONCE);
        else if (many == 2)
            NAME(sums_pieces)(&row, rows, form, past, 2);
        else
            NAME(sums_pieces)(&row, rows, form, past, 1);
        if (block > 1 && (t % block == block - 1 || now == 0))
            give_block(&job->y, rows_of_block, chunk, t - t % block, t);
        const int64_t last = now - (many - 1);
        if (backwards && begins_anew(job, last)) {
            forget(&row, form);
            from = beginning(job, last - 1);
        }
    }
    give(job->first, row.first, chunk);
    give(job->second, row.second, chunk);
}

#define SUMS(rows, form) \
    static void NAME(sums_##rows##form)(const LeakySum *job, Chunk *chunk) { NAME(sums_chunk)(job, chunk, rows, form); }
#define SUMS_NAME(rows, form) NAME(sums_##rows##form),

EVERY_FORM(SUMS)

static void (*const NAME(all_sums)[])(const LeakySum *, Chunk *) = {EVERY_FORM(SUMS_NAME)};

#undef SUMS
#undef SUMS_NAME
