/* The input is copied channels last with zeros around it; then some places at once are multiplied with a block of outputs,
   whose sums stay in registers. */

#include <stdlib.h>
#include <string.h>

#include "fixed_convolution.h"
#include "team.h"

#if defined(__GNUC__)

#include "clones.h"

enum {
    WIDTH = 8, /* outputs of a part of a block: wider ones would leave layers with few outputs half empty */
    SUMS = 8,  /* parts that are summed at once: enough to hide the latency of a product, and few enough for registers */
    TILE = 4,
    IN_TILE = TILE * TILE,
    GROUP = 32,   /* tiles that are multiplied with the same weights while these are in the nearest cache */
    AHEAD = 1024, /* numbers by which weights are prefetched: layers are larger than the near caches */
    APART = 16,   /* numbers between places of a tile that keep them out of each other's cache sets */
};

typedef float Part __attribute__((vector_size(WIDTH * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef int32_t Flags __attribute__((vector_size(WIDTH * sizeof(float)), may_alias));

typedef struct {
    const FixedConvolution *job;
    float *y;
    float *padded;  /* [picture][row][column][channel] */
    float *tiles;   /* [place in a tile][tile][channel], of whole groups */
    int64_t rows, columns;         /* of a padded picture */
    int64_t tiles_down, tiles_across;
    int64_t num_blocks, num_groups;
    int64_t next;
    int failed;
} Shared;

/* The channels of a row of x from the first one on, a place after the other. */
static inline __attribute__((always_inline)) void copy_row(const FixedConvolution *job, const float *from,
                                                           int64_t channels, int64_t width, float *to)
{
    if (job->column_step == channels && (job->channel_step == 1 || channels == 1)) {
        memcpy(to, from, (size_t)(width * channels) * sizeof(float));
        return;
    }
    if (job->channel_step == 1) {
        for (int64_t k = 0; k < width; k++)
            memcpy(to + k * channels, from + k * job->column_step, (size_t)channels * sizeof(float));
        return;
    }
    for (int64_t c = 0; c < channels; c++)
        for (int64_t k = 0; k < width; k++)
            to[k * channels + c] = from[c * job->channel_step + k * job->column_step];
}

CLONES static void pad(const Shared *shared, const float *x)
{
    const FixedConvolution *job = shared->job;
    const int64_t before = job->has_shortcut ? job->out_channels : 0;
    for (int64_t n = 0; n < job->num_pictures; n++)
        for (int64_t y = 0; y < job->height; y++) {
            const float *from = x + n * job->picture_step + y * job->row_step;
            float *to = shared->padded + (n * shared->rows + y + job->pad_y) * shared->columns * job->channels;
            copy_row(job, from + before * job->channel_step, job->channels, job->width, to + job->pad_x * job->channels);
            if (before > 0) /* the outputs are added to it */
                copy_row(job, from, before, job->width, shared->y + (n * job->height + y) * job->width * before);
        }
}

/* sums[p] += x[p * step + i] * weights[i] over i, for a block at each of SUMS / parts places. */
static inline __attribute__((always_inline)) void add_products(Part *sums, const float *x, int64_t step,
                                                               const float *weights, int64_t number, const int parts)
{
    if (parts == 2) { /* as one vector, where the processor has one that wide */
        Block wide[SUMS / 2];
        memcpy(wide, sums, sizeof(wide));
        for (int64_t i = 0; i < number; i++, weights += LANES) {
            __builtin_prefetch(weights + AHEAD);
            for (int p = 0; p < SUMS / 2; p++)
                wide[p] += x[p * step + i] * *(const Block *)weights;
        }
        memcpy(sums, wide, sizeof(wide));
        return;
    }
    for (int64_t i = 0; i < number; i++, weights += WIDTH) {
        __builtin_prefetch(weights + AHEAD);
        for (int p = 0; p < SUMS; p++)
            sums[p] += x[p * step + i] * *(const Part *)weights;
    }
}

/* Writes a part of the outputs of a place, with shortcut and rectification. */
static inline __attribute__((always_inline)) void write_part(const FixedConvolution *job, Part sum, float *y, int64_t part)
{
    const int64_t left = job->out_channels - part * WIDTH;
    const size_t size = left < WIDTH ? (size_t)left * sizeof(float) : sizeof(Part);
    float *to = y + part * WIDTH;
    if (job->has_shortcut) {
        Part shortcut = {0.0f};
        memcpy(&shortcut, to, size);
        sum += shortcut;
    }
    const Part lower = *(const Part *)(job->lower + part * WIDTH);
    const Flags is_less = (Flags)(sum < lower);
    sum = (Part)(((Flags)lower & is_less) | ((Flags)sum & ~is_less));
    if (left >= WIDTH)
        *(Part *)to = sum;
    else
        memcpy(to, &sum, size);
}

static inline __attribute__((always_inline)) void write_blocks(const Shared *shared, const float *from, float *to,
                                                              const int parts)
{
    const FixedConvolution *job = shared->job;
    const int64_t channels = job->channels, of_row = shared->columns * channels, taps = job->kernel_x * channels;
    const int64_t step = job->stride_x * channels, places = SUMS / parts;
    for (int64_t block = 0; block < shared->num_blocks; block++) {
        const float *weights = job->weights + block * job->kernel_y * taps * parts * WIDTH;
        for (int64_t first = 0; first < job->out_width; first += places) {
            Part sums[SUMS];
            for (int k = 0; k < SUMS; k++)
                sums[k] = *(const Part *)(job->bias + (block * parts + k % parts) * WIDTH);
            for (int64_t ky = 0; ky < job->kernel_y; ky++)
                add_products(sums, from + ky * of_row + first * step, step, weights + ky * taps * parts * WIDTH, taps,
                             parts);
            for (int64_t p = 0; p < places && first + p < job->out_width; p++)
                for (int k = 0; k < parts; k++)
                    write_part(job, sums[p * parts + k], to + (first + p) * job->out_channels, block * parts + k);
        }
    }
}

/* A row of outputs of a picture. */
CLONES static void write_row(const Shared *shared, int64_t picture, int64_t row)
{
    const FixedConvolution *job = shared->job;
    const int64_t of_row = shared->columns * job->channels;
    const float *from = shared->padded + (picture * shared->rows + row * job->stride_y) * of_row;
    float *to = shared->y + (picture * job->out_height + row) * job->out_width * job->out_channels;
    if (job->parts == 2)
        write_blocks(shared, from, to, 2);
    else
        write_blocks(shared, from, to, 1);
}

static void write_rows(void *data)
{
    Shared *shared = data;
    const int64_t height = shared->job->out_height;
    for (int64_t row; (row = take_next(&shared->next)) < shared->job->num_pictures * height;)
        write_row(shared, row / height, row % height);
}

/* A row of B' d B, from two rows of a tile d. */
static inline __attribute__((always_inline)) void transform_row(const float *restrict one, const float *restrict other,
                                                                float sign, int64_t channels, float *restrict to,
                                                                int64_t step)
{
    for (int64_t c = 0; c < channels; c++) {
        float down[TILE];
        for (int x = 0; x < TILE; x++)
            down[x] = one[x * channels + c] + sign * other[x * channels + c];
        to[c] = down[0] - down[2];
        to[step + c] = down[1] + down[2];
        to[2 * step + c] = down[2] - down[1];
        to[3 * step + c] = down[1] - down[3];
    }
}

/* B' d B of each tile d. */
CLONES static void transform_tile(const Shared *shared, int64_t tile)
{
    const int64_t channels = shared->job->channels, of_row = shared->columns * channels;
    const int64_t of_picture = shared->tiles_down * shared->tiles_across, inside = tile % of_picture;
    const int64_t row = tile / of_picture * shared->rows + inside / shared->tiles_across * 2;
    const float *from = shared->padded + row * of_row + inside % shared->tiles_across * 2 * channels;
    const int64_t step = shared->num_groups * GROUP * channels + APART;
    float *to = shared->tiles + tile * channels;
    for (int y = 0; y < TILE; y++) {
        /* row y of B' d */
        const float *one = from + (y == 0 ? 0 : y == 2 ? 2 : 1) * of_row;
        const float *other = from + (y == 2 ? 1 : y == 3 ? 3 : 2) * of_row;
        const float sign = y == 1 ? 1.0f : -1.0f;
        transform_row(one, other, sign, channels, to + y * TILE * step, step);
    }
}

static void transform_tiles(void *data)
{
    Shared *shared = data;
    const int64_t number = shared->job->num_pictures * shared->tiles_down * shared->tiles_across;
    for (int64_t tile; (tile = take_next(&shared->next)) < number;)
        transform_tile(shared, tile);
}

/* A' m A of a tile m, whose places lie a step apart, and the bias. */
static inline __attribute__((always_inline)) void write_tile(const Shared *shared, int64_t tile, int64_t part,
                                                            const Part *m, const int64_t step)
{
    const FixedConvolution *job = shared->job;
    const int64_t of_picture = shared->tiles_down * shared->tiles_across, inside = tile % of_picture;
    const int64_t row = inside / shared->tiles_across * 2, column = inside % shared->tiles_across * 2;
    const Part bias = *(const Part *)(job->bias + part * WIDTH);
    Part down[2][TILE];
    for (int x = 0; x < TILE; x++) {
        const Part *of_column = m + x * step;
        down[0][x] = of_column[0] + of_column[TILE * step] + of_column[2 * TILE * step];
        down[1][x] = of_column[TILE * step] - of_column[2 * TILE * step] - of_column[3 * TILE * step];
    }
    for (int y = 0; y < 2 && row + y < job->out_height; y++) {
        const int64_t place = (tile / of_picture * job->out_height + row + y) * job->out_width + column;
        float *to = shared->y + place * job->out_channels;
        write_part(job, bias + down[y][0] + down[y][1] + down[y][2], to, part);
        if (column + 1 < job->out_width)
            write_part(job, bias + down[y][1] - down[y][2] - down[y][3], to + job->out_channels, part);
    }
}

/* A block of outputs of a group of tiles; `products` is scratch memory: [place in a tile][tile][part]. */
static inline __attribute__((always_inline)) void write_tiles(const Shared *shared, int64_t group, int64_t block,
                                                             Part *products, const int parts)
{
    const FixedConvolution *job = shared->job;
    const int64_t channels = job->channels, step = shared->num_groups * GROUP * channels + APART;
    const int64_t number = job->num_pictures * shared->tiles_down * shared->tiles_across;
    for (int64_t place = 0; place < IN_TILE; place++) {
        const float *weights = job->weights + (block * IN_TILE + place) * channels * parts * WIDTH;
        const float *tiles = shared->tiles + place * step + group * GROUP * channels;
        for (int64_t first = 0; first < GROUP; first += SUMS / parts) {
            Part sums[SUMS] = {{0.0f}};
            add_products(sums, tiles + first * channels, channels, weights, channels, parts);
            memcpy(products + (place * GROUP + first) * parts, sums, sizeof(sums));
        }
    }
    for (int64_t t = 0; t < GROUP && group * GROUP + t < number; t++)
        for (int k = 0; k < parts; k++)
            write_tile(shared, group * GROUP + t, block * parts + k, products + t * parts + k, GROUP * parts);
}

CLONES static void write_group(const Shared *shared, int64_t group, int64_t block, Part *products)
{
    if (shared->job->parts == 2)
        write_tiles(shared, group, block, products, 2);
    else
        write_tiles(shared, group, block, products, 1);
}

static void write_groups(void *data)
{
    Shared *shared = data;
    Part *products = malloc((size_t)(IN_TILE * GROUP * shared->job->parts) * sizeof(Part));
    if (products == NULL) {
        shared->failed = 1;
        return;
    }
    for (int64_t k; (k = take_next(&shared->next)) < shared->num_groups * shared->num_blocks;)
        write_group(shared, k % shared->num_groups, k / shared->num_groups, products);
    free(products);
}

static void run(Shared *shared, void (*work)(void *))
{
    shared->next = 0;
    run_together(shared->job->team, shared->job->num_threads, work, shared);
}

static int convolve(const FixedConvolution *job, const float *x, float *y)
{
    const int64_t width = job->parts * WIDTH;
    Shared shared = {.job = job, .y = y, .num_blocks = (job->out_channels + width - 1) / width};
    shared.tiles_down = (job->out_height + 1) / 2;
    shared.tiles_across = (job->out_width + 1) / 2;
    const int64_t number = job->num_pictures * shared.tiles_down * shared.tiles_across;
    shared.num_groups = (number + GROUP - 1) / GROUP;

    /* one row and column more, which the last tile reads where the size is odd */
    shared.rows = job->height + 2 * job->pad_y + 1;
    shared.columns = job->width + 2 * job->pad_x + 1;
    /* places behind the last one are multiplied, and not written */
    const int64_t size = (job->num_pictures * shared.rows * shared.columns + SUMS * job->stride_x) * job->channels;
    const int64_t of_tiles = job->by_tiles ? IN_TILE * (shared.num_groups * GROUP * job->channels + APART) : 0;
    shared.padded = malloc((size_t)(size + of_tiles) * sizeof(float));
    if (shared.padded == NULL)
        return 1;
    memset(shared.padded, 0, (size_t)size * sizeof(float));
    shared.tiles = shared.padded + size;
    pad(&shared, x);
    if (job->by_tiles) {
        run(&shared, transform_tiles);
        run(&shared, write_groups);
    } else {
        run(&shared, write_rows);
    }
    free(shared.padded);
    return shared.failed;
}

int spikebridge_fixed_convolutions(const FixedConvolution *layers, int64_t number, const float *x, float *y)
{
    float *before = NULL;
    int failed = 0;
    for (const FixedConvolution *job = layers; job < layers + number && !failed; job++) {
        const int64_t size = job->num_pictures * job->out_height * job->out_width * job->out_channels;
        float *to = job + 1 < layers + number ? malloc((size_t)size * sizeof(float)) : y;
        failed = to == NULL || convolve(job, x, to);
        free(before);
        before = to == y ? NULL : to;
        x = to;
    }
    free(before);
    return failed;
}

#endif
