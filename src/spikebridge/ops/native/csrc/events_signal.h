/* A signal as an array, as a list of the values that are not zero, or both. Included by events_of_both.h once for each type
   of number, REAL. */

typedef struct {
    int64_t size;
    const REAL *full;     /* all of it, or NULL */
    const int32_t *index; /* places of the list; used where count >= 0 */
    const REAL *values;   /* NULL where all are 1 */
    int64_t count;        /* -1 where there is no list yet */
    int32_t *index_space;
    REAL *values_space;
    REAL *cleared;   /* an array of zeros */
    int is_expanded; /* whether the list is written in cleared */
} NAME(Events);

#if defined(VECTOR)
/* 64 flags, each 0 or 1, as 64 bits. */
INLINE uint64_t NAME(bits)(const uint8_t *flags) {
#if VECTOR == 64
    const __m512i all = _mm512_loadu_si512(flags);
    return _mm512_test_epi8_mask(all, all);
#elif VECTOR == 32
    uint64_t bits = 0;
    for (int half = 1; half >= 0; half--) {
        const __m256i some = _mm256_loadu_si256((const __m256i *)(flags + 32 * half));
        bits = bits << 32 | (uint32_t)_mm256_movemask_epi8(_mm256_cmpgt_epi8(some, _mm256_setzero_si256()));
    }
    return bits;
#elif __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t bits = 0;
    for (int part = 0; part < 8; part++) {
        uint64_t eight;
        memcpy(&eight, flags + 8 * part, 8);
        bits |= ((eight * UINT64_C(0x0102040810204080)) >> 56) << (8 * part);
    }
    return bits;
#else
    uint64_t bits = 0;
    for (int k = 0; k < 64; k++) bits |= (uint64_t)flags[k] << k;
    return bits;
#endif
}
#endif

/* The places of flags, of which there is a multiple of 64. Four of each 64 are written whether they are set or not: a
   branch for each would be predicted wrong too often. */
INLINE int64_t NAME(list_flags)(const uint8_t *flags, int64_t size, int32_t *index) {
    int64_t count = 0;
    for (int64_t start = 0; start < size; start += 64) {
#if defined(VECTOR)
        uint64_t bits = NAME(bits)(flags + start);
        const int here = __builtin_popcountll(bits);
        int32_t *to = index + count;
        count += here;
        for (int k = 0; k < 4; k++, bits &= bits - 1)
            to[k] = (int32_t)start + __builtin_ctzll(bits | UINT64_C(1) << 63);
        for (int k = 4; k < here; k++, bits &= bits - 1) to[k] = (int32_t)start + __builtin_ctzll(bits);
#else
        for (int64_t i = start; i < start + 64; i++) {
            index[count] = (int32_t)i;
            count += flags[i];
        }
#endif
    }
    return count;
}

/* Makes the list, where there is none. */
APART void NAME(list)(NAME(Events) * s) {
    if (s->count >= 0) return;
    int64_t count = 0;
    for (int64_t i = 0; i < s->size; i++) {
        s->index_space[count] = (int32_t)i;
        s->values_space[count] = s->full[i];
        count += s->full[i] != 0;
    }
    s->index = s->index_space;
    s->values = s->values_space;
    s->count = count;
}

/* The signal as an array. */
INLINE const REAL *NAME(array)(NAME(Events) * s) {
    if (s->full) return s->full;
    for (int64_t k = 0; k < s->count; k++) s->cleared[s->index[k]] = s->values ? s->values[k] : 1;
    s->is_expanded = 1;
    return s->cleared;
}

/* Clears what `array` has written. */
INLINE void NAME(release)(NAME(Events) * s) {
    if (!s->is_expanded) return;
    for (int64_t k = 0; k < s->count; k++) s->cleared[s->index[k]] = 0;
    s->is_expanded = 0;
}

INLINE NAME(Events) NAME(events)(const Layer *layer, int64_t size) {
    NAME(Events) s = {size, NULL, NULL, NULL, -1, layer->index, (REAL *)layer->values, (REAL *)layer->cleared, 0};
    return s;
}

/* The list of an input that has its channels first. */
APART void NAME(read)(NAME(Events) * s, const REAL *x, int64_t channels, int64_t places) {
    int64_t count = 0;
    for (int64_t p = 0; p < places; p++)
        for (int64_t c = 0; c < channels; c++) {
            const REAL value = x[c * places + p];
            s->index_space[count] = (int32_t)(p * channels + c);
            s->values_space[count] = value;
            count += value != 0;
        }
    s->index = s->index_space;
    s->values = s->values_space;
    s->count = count;
}
