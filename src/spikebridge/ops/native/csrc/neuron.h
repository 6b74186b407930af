/* The step of a neuron: the equations of spec.py, operation by operation, so that numbers are those of the step functions
   of neurons/ to the bit. Included once for each type of number, REAL, and every set of instructions, with NAME() giving
   the functions names of their own; so there is no include guard. */

/* The membrane after leak and charge. `base` is added where the membrane leaks: `leak`, or -0 where nothing is added. */
INLINE REAL NAME(charged)(REAL v, REAL decay, REAL base, REAL leak, REAL r, REAL current)
{
    return (base + decay * (v - leak)) + r * current;
}

/* The membrane after the reset; `spike` is 0 or 1. */
INLINE REAL NAME(after_reset)(REAL v, REAL spike, REAL threshold, REAL v_reset, const int reset)
{
    if (reset == TO_ZERO)
        return v - spike * v;
    if (reset == TO_VALUE)
        return v * (1 - spike) + spike * v_reset;
    return v - spike * threshold;
}

/* The same of a membrane that is finite: a choice instead of products, which takes less time. */
INLINE REAL NAME(after_finite_reset)(REAL v, int fired, REAL threshold, REAL v_reset, const int reset)
{
    const REAL lower = reset == BY_THRESHOLD ? v - threshold : v_reset;
    return fired ? lower : v;
}
