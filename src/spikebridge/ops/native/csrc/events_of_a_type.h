/* The layers and their step. Included by events_of_both.h once for each type of number, REAL. */

INLINE void NAME(fill)(REAL *out, const REAL *bias, int64_t channels, int64_t places) {
    if (!bias) {
        memset(out, 0, (size_t)(channels * places) * sizeof(REAL));
        return;
    }
    const int64_t size = channels * places;
    memcpy(out, bias, (size_t)channels * sizeof(REAL));
    for (int64_t done = channels; done < size; done *= 2)
        memcpy(out + done, out, (size_t)(done * 2 < size ? done : size - done) * sizeof(REAL));
}

INLINE void NAME(add)(REAL *restrict out, const REAL *restrict row, REAL value, int64_t size) {
    for (int64_t i = 0; i < size; i++) out[i] += value * row[i];
}

/* The product with a matrix: the rows of active inputs, four at a time. */
APART void NAME(multiply)(const Layer *layer, NAME(Events) * s, REAL *restrict out) {
    const int64_t size = layer->out_channels;
    const REAL *weight = layer->weight;
    NAME(list)(s);
    NAME(fill)(out, layer->bias, size, 1);
    int64_t k = 0;
    for (; k + 4 <= s->count; k += 4) {
        const REAL *restrict w0 = weight + s->index[k] * size, *restrict w1 = weight + s->index[k + 1] * size;
        const REAL *restrict w2 = weight + s->index[k + 2] * size, *restrict w3 = weight + s->index[k + 3] * size;
        if (s->values) {
            const REAL a = s->values[k], b = s->values[k + 1], c = s->values[k + 2], d = s->values[k + 3];
            for (int64_t i = 0; i < size; i++) out[i] += (a * w0[i] + b * w1[i]) + (c * w2[i] + d * w3[i]);
        } else {
            for (int64_t i = 0; i < size; i++) out[i] += (w0[i] + w1[i]) + (w2[i] + w3[i]);
        }
    }
    for (; k < s->count; k++) NAME(add)(out, weight + s->index[k] * size, s->values ? s->values[k] : 1, size);
}

/* Events of up to four channels at one place spread over the outputs that see it; with a stride of 1 a row of them lies
   together. */
INLINE void NAME(scatter)(const Layer *l, Place at, const REAL *const *weights, const REAL *values, const int num,
                          REAL *restrict out) {
    const int64_t wide = l->out_width, group = l->out_channels;
    const int64_t right = at.x + l->pad_x, left = right - (l->kernel_x - 1);
    const int64_t from = left < 0 ? 0 : left, to = right < wide ? right + 1 : wide;
    if (from >= to) return;
    for (int64_t ky = 0; ky < l->kernel_y; ky++) {
        const int64_t y = at.y + l->pad_y - ky;
        if (y < 0 || y >= l->out_height) continue;
        const int64_t offset = (ky * l->kernel_x + from - left) * group, size = (to - from) * group;
        REAL *restrict row = out + (y * wide + from) * group;
        const REAL *restrict a = weights[0] + offset, *restrict b = weights[num > 1] + offset;
        if (num < 4) {
            for (int64_t i = 0; i < size; i++)
                row[i] += num == 1 ? values[0] * a[i] : values[0] * a[i] + values[1] * b[i];
            continue;
        }
        const REAL *restrict c = weights[2] + offset, *restrict d = weights[3] + offset;
        for (int64_t i = 0; i < size; i++)
            row[i] += (values[0] * a[i] + values[1] * b[i]) + (values[2] * c[i] + values[3] * d[i]);
    }
}

/* All events, those of one place together. */
APART void NAME(scatter_all)(const Layer *l, NAME(Events) * s, REAL *restrict out) {
    const int64_t size = l->kernel_y * l->kernel_x * l->out_channels;
    for (int64_t k = 0; k < s->count;) {
        const Place at = l->places[s->index[k]];
        const REAL *weights[4];
        REAL values[4];
        int num = 0;
        for (; num < 4 && k + num < s->count; num++) {
            const Place next = l->places[s->index[k + num]];
            if (next.y != at.y || next.x != at.x) break;
            weights[num] = (const REAL *)l->weight + next.c * size;
            values[num] = s->values ? s->values[k + num] : 1;
        }
        if (num == 4) {
            NAME(scatter)(l, at, weights, values, 4, out);
        } else if (num >= 2) {
            NAME(scatter)(l, at, weights, values, 2, out);
            num = 2;
        } else {
            NAME(scatter)(l, at, weights, values, 1, out);
        }
        k += num;
    }
}

/* The same with any stride, dilation and groups: output by output. */
INLINE void NAME(scatter_any)(const Layer *l, Place at, REAL value, REAL *restrict out) {
    const int64_t group = l->out_channels / l->groups, first = at.c / (l->channels / l->groups) * group;
    const REAL *weight = (const REAL *)l->weight + at.c * l->kernel_y * l->kernel_x * group;
    for (int64_t ky = 0; ky < l->kernel_y; ky++) {
        const int64_t y = at.y + l->pad_y - ky * l->dilation_y;
        if (y < 0 || y % l->stride_y || y / l->stride_y >= l->out_height) continue;
        for (int64_t kx = 0; kx < l->kernel_x; kx++) {
            const int64_t x = at.x + l->pad_x - kx * l->dilation_x;
            if (x < 0 || x % l->stride_x || x / l->stride_x >= l->out_width) continue;
            NAME(add)(out + (y / l->stride_y * l->out_width + x / l->stride_x) * l->out_channels + first,
                      weight + (ky * l->kernel_x + l->kernel_x - 1 - kx) * group, value, group);
        }
    }
}

#if defined(VECTOR)
typedef REAL NAME(Lanes) __attribute__((vector_size(VECTOR), aligned(sizeof(REAL)), may_alias));
#define LANES ((int64_t)(VECTOR / sizeof(REAL)))

/* A vector of channels of outputs side by side, from input with its padding: sums stay in registers. */
INLINE void NAME(gather)(const Layer *l, const REAL *restrict in, REAL *restrict out, int64_t channel,
                         const int places) {
    const int64_t step = l->stride_x * l->channels, taps = l->kernel_y * l->kernel_x;
    const REAL *bias = l->bias;
    NAME(Lanes) sums[PLACES];
    for (int p = 0; p < places; p++) sums[p] = (NAME(Lanes)){0};
    for (int64_t ky = 0; ky < l->kernel_y; ky++)
        for (int64_t kx = 0; kx < l->kernel_x; kx++) {
            const REAL *from = in + (ky * l->dilation_y * l->padded_width + kx * l->dilation_x) * l->channels;
            const REAL *w = (const REAL *)l->weight + (ky * l->kernel_x + l->kernel_x - 1 - kx) * l->out_channels + channel;
            for (int64_t c = 0; c < l->channels; c++, w += taps * l->out_channels) {
                const NAME(Lanes) row = *(const NAME(Lanes) *)w;
                for (int p = 0; p < places; p++) sums[p] += from[p * step + c] * row;
            }
        }
    for (int p = 0; p < places; p++) {
        if (bias) sums[p] += *(const NAME(Lanes) *)(bias + channel);
        *(NAME(Lanes) *)(out + p * l->out_channels + channel) = sums[p];
    }
}

/* A convolution that computes every place, where there are enough channels to fill a vector. */
APART void NAME(gather_all)(const Layer *l, NAME(Events) * s, REAL *out) {
    const size_t row = (size_t)(l->width * l->channels) * sizeof(REAL);
    REAL *padded = l->padded;
    const REAL *all = NAME(array)(s);
    for (int64_t y = 0; y < l->height; y++)
        memcpy(padded + ((y + l->pad_y) * l->padded_width + l->pad_x) * l->channels, all + y * l->width * l->channels,
               row);
    for (int64_t c = 0; c < l->out_channels; c += LANES) {
        /* the last vector may compute some channels again */
        const int64_t channel = c + LANES <= l->out_channels ? c : l->out_channels - LANES;
        for (int64_t y = 0; y < l->out_height; y++) {
            const REAL *in = padded + y * l->stride_y * l->padded_width * l->channels;
            REAL *to = out + y * l->out_width * l->out_channels;
            const int64_t step = l->stride_x * l->channels;
            int64_t x = 0;
            for (; x + PLACES <= l->out_width; x += PLACES)
                NAME(gather)(l, in + x * step, to + x * l->out_channels, channel, PLACES);
            for (; x < l->out_width; x++) NAME(gather)(l, in + x * step, to + x * l->out_channels, channel, 1);
        }
    }
}
#endif

#if defined(VECTOR)
typedef REAL NAME(Block) __attribute__((vector_size(BLOCK), aligned(sizeof(REAL)), may_alias));

/* All events, block by block of channels: the weights of a block stay near the processor, and the rows of events are
   summed before they are added: those of one place, and with them those of the place to the right, for the outputs that
   both reach. A tap without an output adds to a place behind the last: events would make a branch hard to predict. */
INLINE void NAME(scatter_blocks)(const Layer *l, const NAME(Events) * s, REAL *restrict out, const int side,
                                 const int ones) {
    const int taps = side * side;
    const int64_t lanes = BLOCK / sizeof(REAL), size = taps * lanes;
    const int64_t group = l->out_channels, width = l->width, count = s->count;
    const int32_t *index = s->index, *outputs = l->target;
    const uint32_t channels = (uint32_t)l->channels;
    const Place *places = l->places;
    const REAL *weight = l->blocks, *values = s->values;
    for (int64_t c = 0; c < group; c += lanes, weight += channels * size) {
        Place at = places[*index];
        NAME(Block) sums[25];
        for (int t = 0; t < taps; t++) sums[t] = (NAME(Block)){0};
        for (int64_t k = 0; k < count;) {
            const int32_t first = index[k] - at.c, *to = outputs + (at.y * width + at.x) * taps;
            uint32_t channel = (uint32_t)at.c;
            do {
                const NAME(Block) *w = (const NAME(Block) *)(weight + channel * size);
                for (int t = 0; t < taps; t++) {
                    if (ones)
                        sums[t] += w[t];
                    else
                        sums[t] += values[k] * w[t];
                }
                if (++k == count) break;
                channel = (uint32_t)(index[k] - first);
            } while (channel < channels);
            const Place next = k < count ? places[index[k]] : (Place){-1, -1, 0};
            if (next.y == at.y && next.x == at.x + 1) { /* the place to the right, which reaches all columns but the first */
                for (int t = 0; t < taps; t += side) *(NAME(Block) *)(out + to[t] * group + c) += sums[t];
                for (int t = 0; t < taps; t++) sums[t] = t % side < side - 1 ? sums[t + 1] : (NAME(Block)){0};
            } else {
                for (int t = 0; t < taps; t++) {
                    *(NAME(Block) *)(out + to[t] * group + c) += sums[t];
                    sums[t] = (NAME(Block)){0};
                }
            }
            at = next;
        }
    }
}

/* One function each: in one function they would lack registers. */
#define SCATTER(name, side, ones)                                              \
    APART void NAME(name)(const Layer *l, const NAME(Events) * s, REAL *out) { \
        NAME(scatter_blocks)(l, s, out, side, ones);                           \
    }
SCATTER(scatter_9_ones, 3, 1)
SCATTER(scatter_9_values, 3, 0)
SCATTER(scatter_25_ones, 5, 1)
SCATTER(scatter_25_values, 5, 0)
#undef SCATTER
#endif

INLINE void NAME(convolve)(const Layer *l, NAME(Events) * s, REAL *restrict out) {
    NAME(list)(s);
#if defined(VECTOR)
    if (s->count > l->max_events && l->out_channels >= LANES) {
        NAME(gather_all)(l, s, out);
        return;
    }
#endif
    NAME(fill)(out, l->bias, l->out_channels, l->out_height * l->out_width);
    if (s->count == 0) return;
#if defined(VECTOR)
    if (l->blocks) {
        if (l->kernel_x == 3)
            (s->values ? NAME(scatter_9_values) : NAME(scatter_9_ones))(l, s, out);
        else
            (s->values ? NAME(scatter_25_values) : NAME(scatter_25_ones))(l, s, out);
        return;
    }
#endif
    const int is_plain = l->stride_y * l->stride_x * l->dilation_y * l->dilation_x * l->groups == 1;
    if (is_plain) {
        NAME(scatter_all)(l, s, out);
        return;
    }
    for (int64_t k = 0; k < s->count; k++)
        NAME(scatter_any)(l, l->places[s->index[k]], s->values ? s->values[k] : 1, out);
}

/* One window of a pool, its rows and columns from top-left, as PyTorch defines them. */
INLINE REAL NAME(window)(const Layer *l, const REAL *all, int64_t out_y, int64_t out_x, int64_t c) {
    const int64_t top = out_y * l->stride_y - l->pad_y, left = out_x * l->stride_x - l->pad_x;
    const int mean = l->kind == TAKE_MEAN;
    REAL result = 0;
    int64_t count = 0;
    for (int64_t ky = 0; ky < l->kernel_y; ky++) {
        const int64_t y = top + ky * l->dilation_y;
        if (y < 0 || y >= l->height) continue;
        for (int64_t kx = 0; kx < l->kernel_x; kx++) {
            const int64_t x = left + kx * l->dilation_x;
            if (x < 0 || x >= l->width) continue;
            const REAL value = all[(y * l->width + x) * l->channels + c];
            if (mean)
                result += value;
            else if (!count || value > result || value != value)
                result = value;
            count++;
        }
    }
    if (!mean) return result;
    if (l->divisor) return result / (REAL)l->divisor;
    if (!l->count_padding) return result / (REAL)count;
    const int64_t bottom = top + l->kernel_y, edge = left + l->kernel_x;
    const int64_t lowest = l->height + l->pad_y, last = l->width + l->pad_x;
    return result / (REAL)(((bottom < lowest ? bottom : lowest) - top) * ((edge < last ? edge : last) - left));
}

/* Marks the windows that hold a place. One with holes may be marked for nothing, which does no harm. */
INLINE int64_t NAME(mark)(const Layer *l, Place at, int64_t count) {
    const int64_t bottom = at.y + l->pad_y, top = bottom - (l->kernel_y - 1) * l->dilation_y;
    const int64_t right = at.x + l->pad_x, left = right - (l->kernel_x - 1) * l->dilation_x;
    for (int64_t y = top <= 0 ? 0 : (top + l->stride_y - 1) / l->stride_y; y < l->out_height; y++) {
        if (y * l->stride_y > bottom) break;
        for (int64_t x = left <= 0 ? 0 : (left + l->stride_x - 1) / l->stride_x; x < l->out_width; x++) {
            if (x * l->stride_x > right) break;
            const int64_t o = (y * l->out_width + x) * l->out_channels + at.c;
            l->index[count] = (int32_t)o;
            count += !l->flags[o];
            l->flags[o] = 1;
        }
    }
    return count;
}

/* A pool of a list: the windows that hold an event. */
INLINE void NAME(pool_events)(const Layer *l, NAME(Events) * s, NAME(Events) * out) {
    int64_t marked = 0, count = 0;
    for (int64_t k = 0; k < s->count; k++) {
        if (!l->target) {
            marked = NAME(mark)(l, l->places[s->index[k]], marked);
            continue;
        }
        const int32_t o = l->target[s->index[k]];
        l->index[marked] = o;
        marked += !l->flags[o];
        l->flags[o] = 1;
    }
    out->index = l->index;
    for (int64_t k = 0; k < marked; k++) l->flags[l->index[k]] = 0;
    if (l->kind == TAKE_LARGEST && !s->values && l->target) { /* the largest of ones is 1 */
        out->count = marked;
        return;
    }
    const REAL *all = NAME(array)(s);
    for (int64_t k = 0; k < marked; k++) {
        const int32_t o = l->index[k], place = o / (int32_t)l->out_channels;
        const int32_t wide = (int32_t)l->out_width;
        const REAL value = NAME(window)(l, all, place / wide, place % wide, o % (int32_t)l->out_channels);
        l->index[count] = o;
        out->values_space[count] = value;
        count += value != 0;
    }
    out->values = out->values_space;
    out->count = count;
}

APART void NAME(pool)(const Layer *l, NAME(Events) * s, NAME(Events) * out) {
    if (s->count >= 0 && s->count <= l->max_events) {
        NAME(pool_events)(l, s, out);
        return;
    }
    const REAL *all = NAME(array)(s);
    REAL *full = l->full;
    for (int64_t y = 0; y < l->out_height; y++)
        for (int64_t x = 0; x < l->out_width; x++)
            for (int64_t c = 0; c < l->out_channels; c++)
                full[(y * l->out_width + x) * l->out_channels + c] = NAME(window)(l, all, y, x, c);
    out->full = full;
}

APART void NAME(reorder)(const Layer *l, NAME(Events) * s, NAME(Events) * out) {
    if (s->count < 0) {
        REAL *full = l->full;
        for (int64_t i = 0; i < s->size; i++) full[l->target[i]] = s->full[i];
        out->full = full;
        return;
    }
    for (int64_t k = 0; k < s->count; k++) {
        l->index[k] = l->target[s->index[k]];
        out->values_space[k] = s->values ? s->values[k] : 1;
    }
    out->index = l->index;
    out->values = out->values_space;
    out->count = s->count;
}

/* The neurons of a layer; the kind of neuron is a constant of the compiler. True if a membrane is not finite. */
INLINE int NAME(fire_all)(const Layer *l, const REAL *restrict in, const void *const *before, void *const *after,
                          int64_t size, const int reset, const int has_current, const int adapts, const int waits,
                          const int varied)
{
    const REAL *const *p = (const REAL *const *)l->parameters;
    const REAL *restrict v_before = before[0];
    REAL *restrict v_after = after[0];
    /* the current, the adaptation or the steps of rest */
    const REAL *restrict m_before = has_current || adapts ? before[1] : NULL;
    REAL *restrict m_after = has_current || adapts ? after[1] : NULL;
    const int64_t *restrict wait_before = waits ? before[1] : NULL;
    int64_t *restrict wait_after = waits ? after[1] : NULL;
    uint8_t *restrict flags = l->flags;
    const REAL one[NUM_PARAMETERS] = {*p[0], *p[1], *p[2], *p[3], *p[4], *p[5], *p[6], *p[7]};

    int bad = 0;
#define NUMBER(K) (varied ? p[K][j] : one[K])
    for (int64_t j = 0; j < size; j++) {
        const REAL leak = NUMBER(V_LEAK), old = v_before[j];
        REAL current = in[j];
        if (has_current) {
            current = m_before[j] * NUMBER(DECAY_SYN) + current;
            m_after[j] = current;
        }
        REAL v = NAME(charged)(old, NUMBER(DECAY), leak, leak, NUMBER(R), current);
        if (waits) v = wait_before[j] == 0 ? v : old;
        bad |= !(v - v == 0);

        if (reset != NEVER) {
            const REAL decayed = adapts ? m_before[j] * NUMBER(DECAY_ADAPTATION) : 0;
            const REAL threshold = adapts ? NUMBER(V_THRESHOLD) + decayed : NUMBER(V_THRESHOLD);
            int fired = v - threshold >= 0;
            if (waits) {
                const int64_t wait = wait_before[j];
                fired = fired && wait == 0;
                wait_after[j] = fired ? l->refractory : (wait > 0 ? wait - 1 : 0);
            }
            flags[j] = (uint8_t)fired;
            v = NAME(after_finite_reset)(v, fired, threshold, NUMBER(V_RESET), reset);
            if (adapts) m_after[j] = decayed + NUMBER(JUMP) * (REAL)fired;
        }
        v_after[j] = v;
    }
#undef NUMBER
    return bad;
}

#define RUN(reset, has_current, adapts, waits)                                                   \
    (l->varied ? NAME(fire_all)(l, in, before, after, size, reset, has_current, adapts, waits, 1) \
               : NAME(fire_all)(l, in, before, after, size, reset, has_current, adapts, waits, 0))
#define RUN_KIND(reset)                             \
    (l->has_current      ? RUN(reset, 1, 0, 0)      \
     : l->has_adaptation ? RUN(reset, 0, 1, 0)      \
     : l->refractory     ? RUN(reset, 0, 0, 1)      \
                         : RUN(reset, 0, 0, 0))

/* Whether a pool behind neurons only needs to know which of its windows, side by side, hold a spike. */
INLINE int NAME(needs_flags)(const Layer *neurons, const Layer *pool) {
    const int64_t bottom = (pool->out_height - 1) * pool->stride_y + pool->kernel_y;
    const int64_t right = (pool->out_width - 1) * pool->stride_x + pool->kernel_x;
    return neurons->kind == FIRE && neurons->reset != NEVER && pool->kind == TAKE_LARGEST && pool->target &&
           pool->pad_y == 0 && pool->pad_x == 0 && bottom <= pool->height && right <= pool->width;
}

/* The flags of windows from the flags of spikes, in the buffer for values, which spikes do not need; with zeros up to a
   multiple of 64. */
INLINE const uint8_t *NAME(pool_flags)(const Layer *l, const uint8_t *restrict flags, int64_t size) {
    uint8_t *restrict pooled = l->values;
    const int64_t channels = l->channels, line = l->width * channels;
    for (int64_t y = 0; y < l->out_height; y++)
        for (int64_t x = 0; x < l->out_width; x++) {
            const uint8_t *window = flags + y * l->stride_y * line + x * l->stride_x * channels;
            uint8_t *restrict to = pooled + (y * l->out_width + x) * channels;
            memcpy(to, window, (size_t)channels);
            for (int64_t k = 1; k < l->kernel_y * l->kernel_x; k++) {
                const uint8_t *restrict from = window + k / l->kernel_x * line + k % l->kernel_x * channels;
                for (int64_t c = 0; c < channels; c++) to[c] |= from[c];
            }
        }
    memset(pooled + size, 0, (size_t)(-size & 63));
    return pooled;
}

/* A layer of neurons, and the pool behind it if it only needs spikes; returns whether a membrane is not finite. */
APART int NAME(fire)(const Layer *l, const Layer *pool, const REAL *in, const void *const *before, void *const *after,
                     int64_t size, NAME(Events) * out) {
    int bad;
    if (l->reset == NEVER) {
        bad = RUN(NEVER, 0, 0, 0);
        out->full = after[0];
        return bad;
    }
    bad = l->reset == TO_VALUE ? RUN_KIND(TO_VALUE) : RUN_KIND(BY_THRESHOLD);
    const uint8_t *flags = pool ? NAME(pool_flags)(pool, l->flags, out->size) : l->flags;
    out->index = out->index_space;
    out->count = NAME(list_flags)(flags, out->size, out->index_space);
    return bad;
}
#undef RUN
#undef RUN_KIND
#undef LANES

static int64_t NAME(step)(const Layer *layers, int64_t num_layers, const REAL *x, int64_t channels_last,
                          const void *const *before, void *const *after, REAL *y) {
    const Layer *entry = layers + num_layers;
    const int64_t places = entry->height * entry->width;
    NAME(Events) s = NAME(events)(entry, entry->channels * places);
    int64_t bad = 0;
    if (channels_last)
        s.full = x;
    else
        NAME(read)(&s, x, entry->channels, places);
    for (const Layer *l = layers; l < entry; l++) {
        const int64_t size = l->out_channels * l->out_height * l->out_width;
        const Layer *pool = l + 1 < entry && NAME(needs_flags)(l, l + 1) ? l + 1 : NULL;
        const Layer *last = pool ? pool : l;
        NAME(Events) out = NAME(events)(last, last->out_channels * last->out_height * last->out_width);
        if (l->kind == CONVOLVE) {
            NAME(convolve)(l, &s, l->full);
            out.full = l->full;
        } else if (l->kind == MULTIPLY) {
            NAME(multiply)(l, &s, l->full);
            out.full = l->full;
        } else if (l->kind == REORDER) {
            NAME(reorder)(l, &s, &out);
        } else if (l->kind == FIRE) {
            const int64_t at = l->first_state;
            if (NAME(fire)(l, pool, NAME(array)(&s), before + at, after + at, size, &out) && !bad)
                bad = 1 + (l - layers);
        } else {
            NAME(pool)(l, &s, &out);
        }
        NAME(release)(&s);
        s = out;
        l = last;
    }
    memcpy(y, NAME(array)(&s), (size_t)s.size * sizeof(REAL));
    NAME(release)(&s);
    return bad;
}
