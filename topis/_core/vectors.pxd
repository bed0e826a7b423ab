# Arrays that do not overlap, and functions in code for the vectors of the machine they run on. Sums
# are not reordered and nothing is fused, so that all of it gives the same bits.

cdef extern from *:
    """
    typedef float *__restrict topis_floats;
    typedef const float *__restrict topis_const_floats;
    #if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && defined(__GNUC__) \\
        && !defined(__clang__) && defined(__OPTIMIZE__)
    #define topis_vector_float __attribute__((target_clones("avx2", "default"))) float
    #define topis_wide_float __attribute__((target_clones("avx512f", "avx2", "default"))) float
    #else
    #define topis_vector_float float
    #define topis_wide_float float
    #endif
    """
    ctypedef float* floats "topis_floats"
    ctypedef const float* const_floats "topis_const_floats"
    ctypedef float vector_float "topis_vector_float"
    # For long rows: of short ones the wider vectors' start-up is the most part.
    ctypedef float wide_float "topis_wide_float"
