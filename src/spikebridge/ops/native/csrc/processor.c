/* Whether this processor runs what the library was compiled for, such as with -march=native on another machine. */

#include "instructions.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#define HAS(flag) (getauxval(AT_HWCAP) & (1ul << (flag)))
#elif defined(__x86_64__) && defined(__GNUC__)
/* every x86-64 has SSE2: without it the compiler's library does not know the processor, as that of zig */
#define HAS(name) (__builtin_cpu_supports(name) || !__builtin_cpu_supports("sse2"))
/* this function itself has to run on every processor */
#define PLAIN __attribute__((target("arch=x86-64")))
#endif
#ifndef PLAIN
#define PLAIN
#endif

/* The compiler defines a macro as 1 where it may use the instructions; else the macro stays its name. */
#define TEXT_(macro) #macro
#define TEXT(macro) TEXT_(macro)
#define CHECK(macro, key, name)                  \
    if (TEXT(macro)[1] == '\0' && !HAS(key))     \
        return name;

PLAIN const char *spikebridge_missing_instructions(void)
{
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    CHECK(__SSE3__, "sse3", "SSE3")
    CHECK(__SSSE3__, "ssse3", "SSSE3")
    CHECK(__SSE4_2__, "sse4.2", "SSE4.2")
    CHECK(__POPCNT__, "popcnt", "POPCNT")
    CHECK(__AVX__, "avx", "AVX")
    CHECK(__FMA4__, "fma4", "FMA4")
    CHECK(__XOP__, "xop", "XOP")
    CHECK(__AVX2__, "avx2", "AVX2")
    CHECK(__FMA__, "fma", "FMA")
    CHECK(__BMI__, "bmi", "BMI")
    CHECK(__BMI2__, "bmi2", "BMI2")
    CHECK(__AVX512F__, "avx512f", "AVX-512F")
    CHECK(__AVX512BW__, "avx512bw", "AVX-512BW")
    CHECK(__AVX512DQ__, "avx512dq", "AVX-512DQ")
    CHECK(__AVX512VL__, "avx512vl", "AVX-512VL")
    CHECK(__AVX512VBMI__, "avx512vbmi", "AVX-512VBMI")
    CHECK(__AVX512VNNI__, "avx512vnni", "AVX-512VNNI")
#elif defined(__aarch64__) && defined(__linux__)
    CHECK(__ARM_FEATURE_ATOMICS, 8, "LSE")
    CHECK(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC, 10, "FP16")
    CHECK(__ARM_FEATURE_DOTPROD, 20, "DOTPROD")
    CHECK(__ARM_FEATURE_SVE, 22, "SVE")
#endif
    return "";
}
