/* Whole sequences in chunks of columns: a chunk runs through all its steps while its memory stays near the processor. */

#include "chunks.h"
#include "step.h"

int spikebridge_version(void)
{
    return SPIKEBRIDGE_VERSION;
}

void spikebridge_sizes(int64_t *sizes)
{
    sizes[0] = sizeof(Forward);
    sizes[1] = sizeof(Backward);
    sizes[2] = sizeof(Respond);
    sizes[3] = sizeof(LeakySum);
}

/* The row of a chunk at step t of dense memory. */
static float *in_dense(float *steps, const Chunk *chunk, int64_t t)
{
    return steps + t * chunk->plan->num_groups * chunk->plan->num_columns + place(chunk);
}

/* Whether a parameter differs between columns: then all are read as rows. */
static int has_rows(const Plan *plan)
{
    for (int k = 0; k < NUM_VALUES; k++)
        if (plan->values[k].column != 0)
            return 1;
    return 0;
}

/* Rows for the parameters that are one number, filled in once; NULL where no row is needed. */
static void take_values(Chunk *chunk, int rows, float **filled)
{
    for (int k = 0; k < NUM_VALUES; k++) {
        const Value *value = &chunk->plan->values[k];
        filled[k] = rows && value->column == 0 ? take_row(chunk) : NULL;
        if (filled[k] != NULL)
            fill(filled[k], *value->at, chunk->num_columns);
    }
}

static void read_values(Step *step, const Chunk *chunk, int rows, int64_t t, float **filled)
{
    for (int k = 0; k < NUM_VALUES; k++) {
        const Value *value = &chunk->plan->values[k];
        step->values[k] = rows ? row_at(value, chunk, t, filled[k]) : value->at + t * value->step;
    }
}

/* The place of a kind of neuron in the tables of `Rows`. */
static int kind(int rows, int current, int adapts, int64_t reset)
{
    return ((rows * 2 + current) * 2 + adapts) * NUM_RESETS + (int)reset;
}

static int64_t pooled_columns(const Pooling *pooling)
{
    return pooling->width / pooling->size_x * pooling->channels;
}

/* The outputs of a row of windows at step t; NULL where nothing is pooled, and for the rows left over. */
static float *windows_at(const Pooling *pooling, const Chunk *chunk, int64_t t)
{
    if (pooling->pooled.at == NULL || chunk->num_columns < chunk->plan->chunk)
        return NULL;
    const int64_t row = chunk->first / chunk->plan->chunk;
    const Signal *pooled = &pooling->pooled;
    return pooled->at + t * pooled->step + chunk->group * pooled->group + row * pooled_columns(pooling);
}

enum { FORWARD_ROWS = NUM_VALUES + 2 };

static void forward_chunk(const void *data, Chunk *chunk)
{
    const Forward *job = data;
    const Plan *plan = &job->plan;
    const int rows = has_rows(plan), past_caches = is_large(plan);
    const Rows *use = spikebridge_rows();
    void (*run)(const Step *) = use->forward[kind(rows, job->i != NULL, job->a != NULL, plan->reset)];
    const int64_t n = chunk->num_columns;

    float *filled[NUM_VALUES], *kept_row = take_row(chunk), *y_row = take_row(chunk), *pooled;
    Step step = {.num_columns = n, .v = begin(in_state(job->v, chunk), job->start_v, chunk)};
    step.i = job->i == NULL ? NULL : begin(in_state(job->i, chunk), job->start_i, chunk);
    step.a = job->a == NULL ? NULL : begin(in_state(job->a, chunk), job->start_a, chunk);
    take_values(chunk, rows, filled);

    for (int64_t t = 0; t < plan->num_steps; t++) {
        float *y = row_of(&job->y, chunk, t), *kept = row_of(&job->kept, chunk, t);
        read_values(&step, chunk, rows, t, filled);
        step.x = row_of(&job->x, chunk, t);
        step.next[0] = t + 1 < plan->num_steps ? row_of(&job->x, chunk, t + 1) : NULL;
        step.y = past_caches || y == NULL ? y_row : y;
        /* membranes that take the place of the input are near already */
        step.kept = kept == NULL || (past_caches && kept != step.x) ? kept_row : kept;
        if (plan->reset == NEVER)
            step.kept = step.y; /* the membrane is the output */
        run(&step);

        if ((pooled = windows_at(&job->pooling, chunk, t)) != NULL)
            use->pool(&job->pooling, step.y, pooled);
        if (past_caches && y != NULL)
            use->write_past_caches(y, step.y, n);
        if (kept != NULL && step.kept != kept)
            use->write_past_caches(kept, step.kept, n);
    }
}

/* The gradients of parameters, summed over the steps of a chunk. */
typedef struct {
    const Backward *job;
    float *totals[NUM_VALUES]; /* NULL where not wanted */
} Sums;

static void take_sums(Sums *sums, Chunk *chunk)
{
    for (int k = 0; k < NUM_VALUES; k++) {
        const Share *share = &sums->job->shares[k];
        sums->totals[k] = NULL;
        if (share->columns != NULL) {
            sums->totals[k] = in_state(share->columns, chunk);
            fill(sums->totals[k], 0.0f, chunk->num_columns);
        } else if (share->chunks != NULL) {
            sums->totals[k] = take_row(chunk);
            fill(sums->totals[k], 0.0f, chunk->num_columns);
        }
    }
}

/* The row that step t adds to the gradient of a parameter; NULL where it is not wanted. */
static float *sum_at(const Sums *sums, int k, const Chunk *chunk, int64_t t)
{
    float *steps = sums->job->shares[k].steps;
    return steps == NULL ? sums->totals[k] : in_dense(steps, chunk, t);
}

/* Adds up the columns of a chunk, where the gradient is one number. */
static void write_sums(const Sums *sums, const Chunk *chunk)
{
    for (int k = 0; k < NUM_VALUES; k++) {
        if (sums->job->shares[k].chunks == NULL)
            continue;
        double sum = 0.0;
        for (int64_t c = 0; c < chunk->num_columns; c++)
            sum += sums->totals[k][c];
        sums->job->shares[k].chunks[chunk->index] = sum;
    }
}

/* A part of the state after each step, computed again: from step -1, the start, on. */
typedef struct {
    const float *start;
    float *rows; /* NULL where not needed */
    int64_t width;
} History;

static const float *after(const History *history, int64_t t)
{
    return t < 0 ? history->start : history->rows + t * history->width;
}

typedef struct {
    const Backward *job;
    const Rows *use;
    Sums sums;
    History currents, adaptations;
    int rows;
    float *filled[NUM_VALUES];
    float *next_leak; /* space for the resting value of the step after */
} Pass;

static int wants(const Backward *job, int k)
{
    const Share *share = &job->shares[k];
    return share->chunks != NULL || share->columns != NULL || share->steps != NULL;
}

static int wants_currents(const Backward *job)
{
    return job->start_i != NULL && (wants(job, R) || wants(job, DECAY_SYN));
}

static int wants_parameters(const Backward *job)
{
    for (int k = 0; k < NUM_VALUES; k++)
        if (wants(job, k))
            return 1;
    return 0;
}

/* Rows for all steps of a chunk, where they are needed. */
static History take_history(const float *start, Chunk *chunk, int needed)
{
    History history = {in_state((float *)start, chunk), NULL, chunk->plan->chunk};
    if (needed) {
        history.rows = chunk->scratch;
        chunk->scratch += chunk->plan->num_steps * history.width;
    }
    return history;
}

/* Currents and adaptations depend on those of earlier steps: they run forward in time before the gradients run backward. */
static void recompute(Pass *pass, Chunk *chunk, Step *step)
{
    const Backward *job = pass->job;
    pass->currents = take_history(job->start_i, chunk, wants_currents(job));
    pass->adaptations = take_history(job->start_a, chunk, job->start_a != NULL);
    if (pass->currents.rows == NULL && pass->adaptations.rows == NULL)
        return;

    for (int64_t t = 0; t < job->plan.num_steps; t++) {
        read_values(step, chunk, 1, t, pass->filled);
        step->x = row_of(&job->x, chunk, t);
        step->kept = row_of(&job->kept, chunk, t);
        if (pass->currents.rows != NULL)
            pass->use->current(step, after(&pass->currents, t - 1), (float *)after(&pass->currents, t));
        if (pass->adaptations.rows != NULL)
            pass->use->adaptation(step, after(&pass->adaptations, t - 1), (float *)after(&pass->adaptations, t));
    }
}

/* Adds step t's part of the decay's gradient. The membrane before the step is known when step t - 1 has fired. */
static void add_decay(Pass *pass, const Chunk *chunk, Step *step, const float *grad_u, int64_t t)
{
    const Backward *job = pass->job;
    float *total = t < job->plan.num_steps ? sum_at(&pass->sums, DECAY, chunk, t) : NULL;
    if (total == NULL)
        return;

    const Value *leak = &job->plan.values[V_LEAK];
    step->next_leak = pass->rows ? row_at(leak, chunk, t, leak->step != 0 ? pass->next_leak : pass->filled[V_LEAK])
                                 : leak->at + t * leak->step;
    if (t > 0) {
        pass->use->leaking[pass->rows * NUM_RESETS + (int)job->plan.reset](step);
    } else {
        const float *start = job->start_v + place(chunk);
        for (int64_t c = 0; c < step->num_columns; c++)
            step->leaking[c] = start[c] - (pass->rows ? step->next_leak[c] : *step->next_leak);
    }
    pass->use->add_product(total, grad_u, step->leaking, step->num_columns);
}

static void clear_steps(const Pass *pass, const Chunk *chunk, int64_t t)
{
    for (int k = 0; k < NUM_VALUES; k++)
        if (pass->job->shares[k].steps != NULL)
            fill(in_dense(pass->job->shares[k].steps, chunk, t), 0.0f, chunk->num_columns);
}

/* Adds the gradients that need those of the state after a step. */
static void add_reset(const Pass *pass, const Chunk *chunk, const Step *step, int64_t t)
{
    float *of_reset = sum_at(&pass->sums, V_RESET, chunk, t), *of_jump = sum_at(&pass->sums, JUMP, chunk, t);
    if (of_reset != NULL)
        pass->use->add_product(of_reset, step->v, step->spikes, step->num_columns);
    if (of_jump != NULL)
        pass->use->add_product(of_jump, step->a, step->spikes, step->num_columns);
}

/* Adds the gradients that need those of membrane, threshold and current in a step. */
static void add_charge(const Pass *pass, const Chunk *chunk, const Step *step, int64_t t)
{
    const Rows *use = pass->use;
    const int64_t n = step->num_columns;
    float *total;
    if ((total = sum_at(&pass->sums, V_THRESHOLD, chunk, t)) != NULL)
        use->add_row(total, step->grad_threshold, n);
    if ((total = sum_at(&pass->sums, R, chunk, t)) != NULL) {
        const float *current = pass->currents.rows ? after(&pass->currents, t) : row_of(&pass->job->x, chunk, t);
        use->add_product(total, step->grad_u, current, n);
    }
    if ((total = sum_at(&pass->sums, V_LEAK, chunk, t)) != NULL)
        use->add_leaked(total, step->grad_u, step->values[DECAY], n);
    if ((total = sum_at(&pass->sums, DECAY_SYN, chunk, t)) != NULL)
        use->add_product(total, step->grad_x, after(&pass->currents, t - 1), n);
    if ((total = sum_at(&pass->sums, DECAY_ADAPTATION, chunk, t)) != NULL)
        use->add_product(total, step->grad_decayed, after(&pass->adaptations, t - 1), n);
}

static float *in_state_or_row(float *state, Chunk *chunk)
{
    return state == NULL ? take_row(chunk) : in_state(state, chunk);
}

/* Lets a step prefetch the rows that the step before it in time reads, which is the next one that runs. */
static void prefetch_next(const Backward *job, const Chunk *chunk, Step *step, int64_t t)
{
    step->next[0] = step->next[1] = NULL;
    if (t == 0)
        return;

    const float *pooled = windows_at(&job->pooling, chunk, t - 1);
    if (job->kept.at != NULL && (job->plan.reset != NEVER || wants(job, DECAY)))
        step->next[0] = row_of(&job->kept, chunk, t - 1);
    if (job->grad_y.at != NULL && job->grad_y.column != 0 && job->grad_y.step != 0)
        step->next[1] = row_at(&job->grad_y, chunk, t - 1, NULL);
    if (pooled != NULL)
        fetch(pooled, pooled_columns(&job->pooling));
}

enum { BACKWARD_ROWS = 2 * NUM_VALUES + 16 };

static void backward_chunk(const void *data, Chunk *chunk)
{
    const Backward *job = data;
    const Plan *plan = &job->plan;
    const int64_t n = chunk->num_columns;
    const int parameters = wants_parameters(job), current = job->start_i != NULL, adapts = job->start_a != NULL;
    /* gradients that take the place of the membranes are in the caches already */
    const int past_caches = is_large(plan) && job->grad_x.at != NULL && job->grad_x.at != job->kept.at;
    Pass pass = {.job = job, .use = spikebridge_rows(), .sums = {.job = job}};
    pass.rows = has_rows(plan) || adapts || parameters;

    Step step = {.num_columns = n, .width = plan->width, .slope = 3.14159265358979323846 / plan->width};
    step.through_reset = plan->through_reset ? 1.0f : 0.0f;
    float *grad_x_row = take_row(chunk), *grad_y_row = take_row(chunk);
    step.spikes = take_row(chunk);
    step.derivatives = take_row(chunk);
    step.leaking = take_row(chunk);
    step.grad_u = take_row(chunk);
    step.grad_threshold = take_row(chunk);
    step.grad_decayed = take_row(chunk);
    step.adapted = take_row(chunk);
    pass.next_leak = take_row(chunk);
    take_values(chunk, pass.rows, pass.filled);
    take_sums(&pass.sums, chunk);
    recompute(&pass, chunk, &step);

    fill(grad_y_row, job->grad_y.at == NULL ? 0.0f : *job->grad_y.at, n);
    step.v = begin(in_state_or_row(job->grad_v, chunk), job->end_v, chunk);
    step.i = current ? begin(in_state_or_row(job->grad_i, chunk), job->end_i, chunk) : NULL;
    step.a = adapts ? begin(in_state_or_row(job->grad_a, chunk), job->end_a, chunk) : NULL;

    /* without gradients of parameters a step is one loop */
    const int at_once = !parameters && !adapts && plan->reset != NEVER;
    void (*run)(const Step *) = pass.use->backward[kind(pass.rows, current, adapts, plan->reset)];
    if (at_once) {
        const int64_t row = (pass.rows * 2 + current) * NUM_RESETS + plan->reset;
        run = pass.use->backward_only[row * NUM_SURROGATES + plan->surrogate];
    }

    for (int64_t t = plan->num_steps - 1; t >= 0; t--) {
        read_values(&step, chunk, pass.rows, t, pass.filled);
        step.kept = row_of(&job->kept, chunk, t);
        step.grad_y = job->grad_y.at == NULL ? grad_y_row : row_at(&job->grad_y, chunk, t, grad_y_row);
        step.grad_x = past_caches || job->grad_x.at == NULL ? grad_x_row : row_of(&job->grad_x, chunk, t);
        prefetch_next(job, chunk, &step, t);

        step.threshold = step.values[V_THRESHOLD];
        if (adapts) {
            pass.use->threshold(&step, after(&pass.adaptations, t - 1));
            step.threshold = step.adapted;
        }

        const float *pooled = windows_at(&job->pooling, chunk, t);
        if (at_once && pooled != NULL)
            pass.use->spikes[pass.rows](&step);
        else if (!at_once && plan->reset != NEVER)
            pass.use->fire[pass.rows * NUM_SURROGATES + (int)plan->surrogate](&step);
        if (pooled != NULL)
            pass.use->unpool(&job->pooling, step.spikes, pooled, grad_y_row);

        if (parameters) {
            clear_steps(&pass, chunk, t);
            add_decay(&pass, chunk, &step, step.grad_u, t + 1);
            add_reset(&pass, chunk, &step, t);
        }
        run(&step);
        if (parameters)
            add_charge(&pass, chunk, &step, t);
        if (past_caches)
            pass.use->write_past_caches(row_of(&job->grad_x, chunk, t), step.grad_x, n);
    }
    add_decay(&pass, chunk, &step, step.grad_u, 0);
    write_sums(&pass.sums, chunk);
}

int spikebridge_forward(const Forward *job)
{
    return spikebridge_share_out(&job->plan, job, forward_chunk, FORWARD_ROWS * job->plan.chunk);
}

int spikebridge_backward(const Backward *job)
{
    const int64_t histories = wants_currents(job) + (job->start_a != NULL);
    const int64_t rows = BACKWARD_ROWS + histories * job->plan.num_steps;
    return spikebridge_share_out(&job->plan, job, backward_chunk, rows * job->plan.chunk);
}
