/* An event or a spike is added only to the outputs whose windows contain it. */

#include "pathway.h"

#if defined(__GNUC__)

#include "clones.h"

/* channels of a vector */
enum { WIDTH = 8 };

typedef float Part __attribute__((vector_size(WIDTH * sizeof(float)), aligned(sizeof(float)), may_alias));

/* True if one of the numbers reaches the limit. */
static inline __attribute__((always_inline)) int any_reaches(const float *numbers, float limit, const int64_t n)
{
    if (n == WIDTH) {
        typedef int64_t Flags __attribute__((vector_size(WIDTH * sizeof(float)), may_alias));
        const Part limits = {limit, limit, limit, limit, limit, limit, limit, limit};
        const Flags flags = (Flags)(*(const Part *)numbers >= limits);
        return (flags[0] | flags[1] | flags[2] | flags[3]) != 0;
    }
    int any = 0;
    for (int64_t c = 0; c < n; c++)
        any |= numbers[c] >= limit;
    return any;
}

/* The outputs along an axis whose windows contain an input, the last one included. */
typedef struct {
    int64_t first, last;
} Range;

static inline Range outputs_of(int64_t at, int64_t kernel, int64_t stride, int64_t pad, int64_t size)
{
    const int64_t behind = at + pad - kernel + 1, last = (at + pad) / stride;
    return (Range){behind > 0 ? (behind + stride - 1) / stride : 0, last < size ? last : size - 1};
}

static inline __attribute__((always_inline)) void add_scaled(float *restrict to, float factor,
                                                             const float *restrict from, const int64_t n)
{
    int64_t c = 0;
    for (; c + WIDTH <= n; c += WIDTH)
        *(Part *)(to + c) += factor * *(const Part *)(from + c);
    for (; c < n; c++)
        to[c] += factor * from[c];
}

static inline __attribute__((always_inline)) void leak_and_bias(const Pathway *p, const float *restrict before,
                                                                float *restrict after, const float *restrict decay,
                                                                const float *restrict bias, const int64_t n)
{
    for (int64_t place = 0; place < p->out_height * p->out_width; place++)
        for (int64_t c = 0; c < n; c++)
            after[place * n + c] = decay[c] * before[place * n + c] + bias[c];
}

static inline __attribute__((always_inline)) void add_event(const Pathway *p, int64_t input, int64_t y, int64_t x,
                                                            float value, float *v, float *sum, const int64_t n)
{
    const Range rows = outputs_of(y, p->kernel_y, p->stride, p->pad_y, p->out_height);
    const Range columns = outputs_of(x, p->kernel_x, p->stride, p->pad_x, p->out_width);
    for (int64_t oy = rows.first; oy <= rows.last; oy++)
        for (int64_t ox = columns.first; ox <= columns.last; ox++) {
            const int64_t ky = y + p->pad_y - oy * p->stride, kx = x + p->pad_x - ox * p->stride;
            const float *weights = p->weights + ((input * p->kernel_y + ky) * p->kernel_x + kx) * 2 * n;
            add_scaled(sum + (oy * p->out_width + ox) * n, value, weights, n);
            add_scaled(v + (oy * p->out_width + ox) * n, value, weights + n, n);
        }
}

static inline __attribute__((always_inline)) void add_events(const Pathway *p, const float *events, float *v,
                                                             float *sum, const int64_t n)
{
    /* most of a picture is 0 */
    enum { AT_A_TIME = 8 };
    for (int64_t input = 0; input < p->num_inputs; input++)
        for (int64_t y = 0; y < p->height; y++) {
            const float *row = events + (input * p->height + y) * p->width;
            for (int64_t from = 0; from < p->width; from += AT_A_TIME) {
                const int64_t to = from + AT_A_TIME < p->width ? from + AT_A_TIME : p->width;
                int any = 0;
                for (int64_t x = from; x < to; x++)
                    any |= row[x] != 0.0f;
                for (int64_t x = from; any && x < to; x++)
                    if (row[x] != 0.0f)
                        add_event(p, input, y, x, row[x], v, sum, n);
            }
        }
}

/* Adds the weights of the spikes of a place to the outputs around it; `spiking` lists their channels. */
static inline __attribute__((always_inline)) void add_spikes(const Pathway *p, int64_t y, int64_t x,
                                                             const int64_t *spiking, int64_t number, float *sum,
                                                             const int64_t n)
{
    const Range rows = outputs_of(y, p->kernel_out_y, 1, p->kernel_out_y / 2, p->out_height);
    const Range columns = outputs_of(x, p->kernel_out_x, 1, p->kernel_out_x / 2, p->out_width);
    for (int64_t oy = rows.first; oy <= rows.last; oy++)
        for (int64_t ox = columns.first; ox <= columns.last; ox++) {
            const int64_t ky = y + p->kernel_out_y / 2 - oy, kx = x + p->kernel_out_x / 2 - ox;
            const float *weights = p->out + (ky * p->kernel_out_x + kx) * n * n;
            float *to = sum + (oy * p->out_width + ox) * n;
            int64_t from = 0;
            for (; from + WIDTH <= n; from += WIDTH) {
                Part part = *(Part *)(to + from);
                for (int64_t k = 0; k < number; k++)
                    part += *(const Part *)(weights + spiking[k] * n + from);
                *(Part *)(to + from) = part;
            }
            for (int64_t k = 0; from < n && k < number; k++)
                add_scaled(to + from, 1.0f, weights + spiking[k] * n + from, n - from);
        }
}

static inline __attribute__((always_inline)) void fire(const Pathway *p, float *v, float *sum, int64_t *spiking,
                                                       const int64_t n)
{
    for (int64_t y = 0; y < p->out_height; y++)
        for (int64_t x = 0; x < p->out_width; x++) {
            float *here = v + (y * p->out_width + x) * n;
            int64_t number = 0;
            if (!any_reaches(here, p->threshold, n))
                continue;
            for (int64_t c = 0; c < n; c++) {
                spiking[number] = c;
                number += here[c] >= p->threshold;
                here[c] = here[c] >= p->threshold ? 0.0f : here[c];
            }
            add_spikes(p, y, x, spiking, number, sum, n);
        }
}

static inline __attribute__((always_inline)) void step(const Pathway *p, const float *events, const float *v_before,
                                                       float *v, const float *sum_before, float *sum, const int64_t n)
{
    leak_and_bias(p, sum_before, sum, p->leak, p->bias, n);
    leak_and_bias(p, v_before, v, p->decay, p->bias + n, n);
    add_events(p, events, v, sum, n);
    int64_t spiking[MAX_CHANNELS];
    fire(p, v, sum, spiking, n);
}

CLONES void spikebridge_pathway_step(const Pathway *p, const float *events, const float *v_before, float *v,
                                     const float *sum_before, float *sum)
{
    /* the shipped network has 8: a constant number of channels fills whole registers */
    if (p->channels == 8)
        step(p, events, v_before, v, sum_before, sum, 8);
    else
        step(p, events, v_before, v, sum_before, sum, p->channels);
}

#endif
