/* Means of many numbers, in double precision. */
#ifndef SPIKEBRIDGE_MEANS_H
#define SPIKEBRIDGE_MEANS_H

#include <stdint.h>

/* The mean of the differences of numbers from a middle, or of the squares of these. */
static inline __attribute__((always_inline)) double mean(const float *numbers, int64_t number, int is_squared,
                                                         float middle)
{
    /* independent sums, which need not wait for each other */
    enum { AT_ONCE = 8 };
    double sums[AT_ONCE] = {0.0}, sum = 0.0;
    int64_t k = 0;
    for (; k + AT_ONCE <= number; k += AT_ONCE)
        for (int i = 0; i < AT_ONCE; i++) {
            const double difference = (double)(numbers[k + i] - middle);
            sums[i] += is_squared ? difference * difference : difference;
        }
    for (; k < number; k++) {
        const double difference = (double)(numbers[k] - middle);
        sum += is_squared ? difference * difference : difference;
    }
    for (int i = 0; i < AT_ONCE; i++)
        sum += sums[i];
    return sum / (double)number;
}

#endif
