/* A signal as an array, as a list of what is not zero, or both. Included by events_of_both.h once for each type of number,
   REAL. */

typedef struct {
    int64_t size;
    const REAL *full;     /* all of it, or NULL */
    const int32_t *index; /* what is not zero; used where count >= 0 */
    const REAL *values;   /* NULL where all are 1 */
    int64_t count;        /* -1 where there is no list yet */
    int32_t *index_room;
    REAL *values_room;
    REAL *cleared;
    int spread; /* whether the list now stands in cleared */
} NAME(Signal);

#if defined(VECTOR)
/* 64 flags, each 0 or 1, as bits. */
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

/* The places of flags, of which there is a multiple of 64. Four are written whether they are there or not: a branch for
   each would be guessed wrong too often. */
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

/* Makes the list. */
APART void NAME(list)(NAME(Signal) * s) {
    if (s->count >= 0) return;
    int64_t count = 0;
    for (int64_t i = 0; i < s->size; i++) {
        s->index_room[count] = (int32_t)i;
        s->values_room[count] = s->full[i];
        count += s->full[i] != 0;
    }
    s->index = s->index_room;
    s->values = s->values_room;
    s->count = count;
}

/* All of a signal as an array. */
INLINE const REAL *NAME(array)(NAME(Signal) * s) {
    if (s->full) return s->full;
    for (int64_t k = 0; k < s->count; k++) s->cleared[s->index[k]] = s->values ? s->values[k] : 1;
    s->spread = 1;
    return s->cleared;
}

/* Clears what `array` has written. */
INLINE void NAME(release)(NAME(Signal) * s) {
    if (!s->spread) return;
    for (int64_t k = 0; k < s->count; k++) s->cleared[s->index[k]] = 0;
    s->spread = 0;
}

INLINE NAME(Signal) NAME(signal)(const Layer *layer, int64_t size) {
    NAME(Signal) s = {size, NULL, NULL, NULL, -1, layer->index, (REAL *)layer->values, (REAL *)layer->cleared, 0};
    return s;
}

/* What comes in with the channels first, as a list in our order. */
APART void NAME(read)(NAME(Signal) * s, const REAL *x, int64_t channels, int64_t places) {
    int64_t count = 0;
    for (int64_t p = 0; p < places; p++)
        for (int64_t c = 0; c < channels; c++) {
            const REAL value = x[c * places + p];
            s->index_room[count] = (int32_t)(p * channels + c);
            s->values_room[count] = value;
            count += value != 0;
        }
    s->index = s->index_room;
    s->values = s->values_room;
    s->count = count;
}
