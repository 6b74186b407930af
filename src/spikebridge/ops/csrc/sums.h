/* A chunk of sums through all its steps, each read and written once. Included once for every set of instructions, with
   NAME() giving the functions names of their own; so there is no include guard.

   The order of the operations is that of the step functions of hybrid/: their results are met to the bit. */

INLINE void NAME(sums_row)(const SumRow *row, const int rows, const int form)
{
    const float *restrict x = row->x, *restrict decays = row->decay, *restrict factors = row->factor;
    const float *restrict before = row->before;
    float *restrict y = row->y, *restrict first = row->first, *restrict second = row->second;
    const float one_decay = *decays, one_factor = *factors, steps = row->steps;
    INDEPENDENT
    for (int64_t c = 0; c < row->num_columns; c++) {
        const float decay = rows ? decays[c] : one_decay, factor = rows ? factors[c] : one_factor;
        const float f = first[c];
        if (form == SUM) {
            first[c] = f * decay + x[c];
            y[c] = first[c];
        } else if (form == SUM_BACKWARD || form == SUM_BACKWARD_AND_SLOPE) {
            const float both = f + x[c];
            y[c] = both;
            first[c] = both * decay;
            if (form == SUM_BACKWARD_AND_SLOPE)
                second[c] += both * before[c];
        } else if (form == MEAN) {
            first[c] = f + x[c];
            y[c] = first[c] / (factor + steps);
        } else if (form == MEAN_BACKWARD) {
            first[c] = f + x[c] / (factor + steps);
            y[c] = first[c];
        } else if (form == ALPHA) {
            const float late = (second[c] + f) * decay;
            second[c] = late;
            y[c] = late * factor;
            first[c] = f * decay + x[c];
        } else {
            const float both = (second[c] + x[c] * factor) * decay;
            second[c] = both;
            y[c] = f;
            first[c] = f * decay + both;
        }
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
INLINE void NAME(sums_piece)(const SumRow *all, int64_t from, int64_t size, const int rows, const int form, const int past)
{
    float given[PIECE];
    SumRow row = *all;
    row.num_columns = size;
    row.x += from, row.first += from, row.second += from;
    if (form == SUM_BACKWARD_AND_SLOPE)
        row.before += from;
    if (rows)
        row.decay += from, row.factor += from;
    row.y = past ? given : all->y + from;
    for (int k = 0; k < 2; k++)
        if (all->soon[k] != NULL)
            fetch(all->soon[k] + from, size);
    NAME(sums_row)(&row, rows, form);
    if (past)
        NAME(write_past_caches)(all->y + from, given, size);
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
    SumRow row = {.num_columns = n, .first = begin(take_row(chunk), job->start_first, chunk)};
    row.second = begin(take_row(chunk), job->start_second, chunk);
    row.decay = rows ? as_row(&job->decay, chunk) : row_at(&job->decay, chunk, 0, NULL);
    const int64_t block = backwards && !past ? BLOCK_OF_SUMS / n : 0;
    float *const rows_of_block = chunk->scratch;
    const int64_t piece = form == SUM_BACKWARD_AND_SLOPE ? PIECE / 2 : PIECE; /* it asks for two rows at once */
    int64_t from = backwards ? beginning(job, num_steps - 1) : 0;
    for (int64_t t = 0; t < num_steps; t++) {
        const int64_t now = backwards ? num_steps - 1 - t : t;
        if (!backwards && begins_anew(job, now)) {
            forget(&row, form);
            from = now;
        }
        row.x = job->x.at == NULL ? zeros : row_of(&job->x, chunk, t);
        row.soon[0] = t + 1 < num_steps ? row_of(&job->x, chunk, t + 1) : NULL;
        if (form == SUM_BACKWARD_AND_SLOPE) {
            const float *start = job->start == NULL ? zeros : job->start + place(chunk);
            row.before = now > 0 ? row_of(&job->before, chunk, t) : start;
            if (begins_anew(job, now))
                row.before = zeros;
            row.soon[1] = now > 1 ? row_of(&job->before, chunk, t + 1) : NULL;
        }
        row.y = block > 1 ? rows_of_block + t % block * n : row_of(&job->y, chunk, t);
        row.factor = means && begins_anew(job, from) ? zeros : factor; /* no steps were before */
        row.steps = (float)(now - from + 1);
        for (int64_t c = 0; c < n; c += piece)
            NAME(sums_piece)(&row, c, n - c < piece ? n - c : piece, rows, form, past);
        if (block > 1 && (t % block == block - 1 || now == 0))
            give_block(&job->y, rows_of_block, chunk, t - t % block, t);
        if (backwards && begins_anew(job, now)) {
            forget(&row, form);
            from = beginning(job, now - 1);
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
