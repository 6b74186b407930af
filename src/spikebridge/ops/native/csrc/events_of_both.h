/* Included by events.c once for each set of instructions. */

#define REAL float
#include "neuron.h"
#include "events_signal.h"
#include "events_of_a_type.h"
#undef REAL

#define REAL double
#include "neuron.h"
#include "events_signal.h"
#include "events_of_a_type.h"
#undef REAL
