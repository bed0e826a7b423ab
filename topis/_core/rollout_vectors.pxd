# A second of streams and the gains of stages by hand, for `rollout.pyx`: compilers make jumps of
# the choices in them. Where the machine has no such vectors the loops of `rollout.pyx` do the same,
# to the same bits.

# Its types stand before the code below.
from topis._core.vectors cimport const_floats

cdef extern from *:
    """
    static inline float topis_chosen(int first, float a, float b)
    {
        union { float value; unsigned int bits; } x, y;
        x.value = a;
        y.value = b;
        x.bits = (x.bits & -(unsigned int)first) | (y.bits & ((unsigned int)first - 1));
        return x.value;
    }
    /* What `second` does, by hand for AVX2: compilers make jumps of its choices. */
    #if defined(__x86_64__) && defined(__GNUC__) && defined(__OPTIMIZE__)
    #include <immintrin.h>
    #define topis_second(V, P, GT, WAITS)                                                       \\
        V queue_ = P##_loadu_ps(queue + i), open__ = P##_loadu_ps(open_ + i);                   \\
        V arrive_ = P##_loadu_ps(arrive + i), one = P##_set1_ps(1.0f), pass;                    \\
        if (foes >= 0) {                                                                        \\
            V sum = foes > 0 ? WAITS(foe + i) : P##_setzero_ps();                               \\
            V own_ = P##_loadu_ps(own + i), more, up;                                           \\
            for (k = 1; k < foes; k++)                                                          \\
                sum = P##_add_ps(sum, WAITS(foe + k * n + i));                                  \\
            sum = P##_min_ps(sum, one);                                                         \\
            pass = P##_sub_ps(own_, P##_mul_ps(P##_loadu_ps(yield_share + i), sum));            \\
            more = P##_mul_ps(P##_sub_ps(one, sum), P##_sub_ps(own_, open__));                  \\
            up = P##_and_ps(GT(pass, open__),                                                   \\
                            GT(P##_loadu_ps(gives + i), P##_setzero_ps()));                     \\
            open__ = P##_blendv_ps(open__, P##_add_ps(open__, more), up);                       \\
        } else                                                                                  \\
            pass = P##_loadu_ps(own + i);                                                       \\
        V room_ = P##_loadu_ps(room + i);                                                       \\
        V x = P##_add_ps(queue_, arrive_), stopped, waits;                                      \\
        V d = P##_mul_ps(P##_mul_ps(P##_loadu_ps(cap + i), P##_loadu_ps(rate + i)), open__);    \\
        d = P##_min_ps(P##_min_ps(P##_loadu_ps(inside + i), room_), P##_min_ps(x, d));          \\
        P##_storeu_ps(room + i, P##_add_ps(P##_sub_ps(room_, d), P##_loadu_ps(refill + i)));    \\
        P##_storeu_ps(open_ + i, P##_sub_ps(open__, P##_mul_ps(                                 \\
            P##_mul_ps(open__, P##_sub_ps(one, pass)), d)));                                    \\
        x = P##_sub_ps(x, d);                                                                   \\
        stopped = P##_mul_ps(P##_mul_ps(P##_set1_ps(stop_s), arrive_), P##_min_ps(x, one));     \\
        waits = P##_add_ps(x, P##_mul_ps(d, P##_loadu_ps(ahead + i)));                          \\
        waits = P##_mul_ps(P##_mul_ps(P##_set1_ps(fade), P##_loadu_ps(weight + i)),             \\
                           P##_add_ps(waits, stopped));                                         \\
        P##_storeu_ps(cost + i, P##_add_ps(P##_loadu_ps(cost + i), waits));                     \\
        P##_storeu_ps(queue + i, x);                                                            \\
        P##_storeu_ps(gone + i, d);
    #define topis_greater8(a, b) _mm256_cmp_ps(a, b, _CMP_GT_OQ)
    #define topis_waits8(p) _mm256_i32gather_ps(wait, _mm256_loadu_si256((const __m256i *)(p)), 4)
    #define topis_waits4(p) _mm_i32gather_ps(wait, _mm_loadu_si128((const __m128i *)(p)), 4)
    /* Sixteen streams: who is waited for is in two registers. */
    #define topis_waits16(p) topis_of_sixteen(low, high, _mm256_loadu_si256((const __m256i *)(p)))
    __attribute__((target("avx2"), always_inline)) static inline __m256 topis_of_sixteen(
        __m256 low, __m256 high, __m256i at)
    {
        __m256 found = _mm256_blendv_ps(
            _mm256_permutevar8x32_ps(low, at), _mm256_permutevar8x32_ps(high, at),
            _mm256_castsi256_ps(_mm256_slli_epi32(at, 28)));
        return _mm256_andnot_ps(
            _mm256_castsi256_ps(_mm256_srai_epi32(_mm256_slli_epi32(at, 27), 31)), found);
    }
    __attribute__((target("avx2"))) static void topis_second_avx2(
        int n, int foes, float fade, float stop_s, topis_const_floats rate,
        topis_const_floats own, topis_const_floats gives, topis_const_floats yield_share,
        const int *foe, topis_const_floats arrive, topis_const_floats ahead,
        topis_const_floats weight, topis_const_floats cap,
        topis_const_floats refill, topis_const_floats inside, topis_floats queue,
        topis_floats open_, topis_floats room, topis_floats cost, topis_floats gone, float *wait)
    {
        int i, k;
        if (n == 16) {
            __m256 gap = _mm256_set1_ps(2.5f), low, high;
            low = _mm256_add_ps(_mm256_loadu_ps(queue),
                                _mm256_mul_ps(gap, _mm256_loadu_ps(arrive)));
            high = _mm256_add_ps(_mm256_loadu_ps(queue + 8),
                                 _mm256_mul_ps(gap, _mm256_loadu_ps(arrive + 8)));
            for (i = 0; i < 16; i += 8) {
                topis_second(__m256, _mm256, topis_greater8, topis_waits16)
            }
            return;
        }
        if (foes > 0) {
            __m128 gap = _mm_set1_ps(2.5f);
            for (i = 0; i < n; i += 4)
                _mm_storeu_ps(wait + i, _mm_add_ps(_mm_loadu_ps(queue + i),
                                                   _mm_mul_ps(gap, _mm_loadu_ps(arrive + i))));
            wait[n] = 0.0f;
        }
        for (i = 0; i + 8 <= n; i += 8) {
            topis_second(__m256, _mm256, topis_greater8, topis_waits8)
        }
        if (i < n) {
            topis_second(__m128, _mm, _mm_cmpgt_ps, topis_waits4)
        }
    }
    /* The same for sixteen streams where a register holds them all. */
    __attribute__((target("avx512f"))) static void topis_second_16(
        int foes, float fade, float stop_s, topis_const_floats rate, topis_const_floats own,
        topis_const_floats gives, topis_const_floats yield_share, const int *foe,
        topis_const_floats arrive, topis_const_floats ahead, topis_const_floats weight,
        topis_const_floats cap, topis_const_floats refill, topis_const_floats inside,
        topis_floats queue, topis_floats open_, topis_floats room, topis_floats cost,
        topis_floats gone)
    {
        __m512 coming = _mm512_loadu_ps(arrive), one = _mm512_set1_ps(1.0f);
        __m512 q = _mm512_loadu_ps(queue), front = _mm512_loadu_ps(open_), left, d, x, waits;
        __m512 pass = _mm512_loadu_ps(own), most = _mm512_loadu_ps(room);
        int k;
        if (foes >= 0) {
            __m512 sum = _mm512_setzero_ps(), more;
            __m512 wait = _mm512_add_ps(q, _mm512_mul_ps(_mm512_set1_ps(2.5f), coming));
            __mmask16 up = _mm512_cmp_ps_mask(_mm512_loadu_ps(gives), sum, _CMP_GT_OQ);
            for (k = 0; k < foes; k++) {
                __m512i at = _mm512_loadu_si512(foe + 16 * k);
                __mmask16 any = _mm512_cmplt_epi32_mask(at, _mm512_set1_epi32(16));
                sum = _mm512_add_ps(sum, _mm512_maskz_permutexvar_ps(any, at, wait));
            }
            sum = _mm512_min_ps(sum, one);
            more = _mm512_mul_ps(_mm512_sub_ps(one, sum), _mm512_sub_ps(pass, front));
            pass = _mm512_sub_ps(pass, _mm512_mul_ps(_mm512_loadu_ps(yield_share), sum));
            up &= _mm512_cmp_ps_mask(pass, front, _CMP_GT_OQ);
            front = _mm512_mask_add_ps(front, up, front, more);
        }
        x = _mm512_add_ps(q, coming);
        d = _mm512_mul_ps(_mm512_mul_ps(_mm512_loadu_ps(cap), _mm512_loadu_ps(rate)), front);
        d = _mm512_min_ps(_mm512_min_ps(_mm512_loadu_ps(inside), most), _mm512_min_ps(x, d));
        left = _mm512_add_ps(_mm512_sub_ps(most, d), _mm512_loadu_ps(refill));
        _mm512_storeu_ps(room, left);
        left = _mm512_mul_ps(_mm512_mul_ps(front, _mm512_sub_ps(one, pass)), d);
        _mm512_storeu_ps(open_, _mm512_sub_ps(front, left));
        x = _mm512_sub_ps(x, d);
        left = _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(stop_s), coming), _mm512_min_ps(x, one));
        waits = _mm512_add_ps(x, _mm512_mul_ps(d, _mm512_loadu_ps(ahead)));
        waits = _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(fade), _mm512_loadu_ps(weight)),
                              _mm512_add_ps(waits, left));
        _mm512_storeu_ps(cost, _mm512_add_ps(_mm512_loadu_ps(cost), waits));
        _mm512_storeu_ps(queue, x);
        _mm512_storeu_ps(gone, d);
    }
    static int topis_has_avx512(void) { return __builtin_cpu_supports("avx512f") != 0; }
    /* What `gains` does, its sums in registers; q: [n] scratch. */
    __attribute__((target("avx2"))) static float topis_gains_avx2(
        int n, int wide, int shown, float own, float worth_s, float least_veh,
        topis_const_floats rate_of, topis_const_floats queue, topis_const_floats soon,
        topis_const_floats cap, topis_const_floats weight, topis_const_floats room,
        topis_const_floats open_, topis_floats sum, topis_floats q)
    {
        int i, s;
        for (i = 0; i < n; i += 4) {
            __m128 x = _mm_add_ps(_mm_loadu_ps(queue + i), _mm_loadu_ps(soon + i));
            x = _mm_min_ps(x, _mm_mul_ps(_mm_loadu_ps(cap + i), _mm_set1_ps(worth_s)));
            x = _mm_mul_ps(x, _mm_loadu_ps(weight + i));
            x = _mm_and_ps(x, _mm_cmpge_ps(_mm_loadu_ps(room + i), _mm_set1_ps(least_veh)));
            _mm_storeu_ps(q + i, x);
        }
        for (s = 0; s + 8 <= wide; s += 8) {
            __m256 total = _mm256_setzero_ps();
            for (i = 0; i < n; i++)
                total = _mm256_add_ps(total, _mm256_mul_ps(
                    _mm256_set1_ps(q[i]), _mm256_loadu_ps(rate_of + (size_t)i * wide + s)));
            _mm256_storeu_ps(sum + s, total);
        }
        for (; s < wide; s += 4) {
            __m128 total = _mm_setzero_ps();
            for (i = 0; i < n; i++)
                total = _mm_add_ps(total, _mm_mul_ps(
                    _mm_set1_ps(q[i]), _mm_loadu_ps(rate_of + (size_t)i * wide + s)));
            _mm_storeu_ps(sum + s, total);
        }
        for (i = 0; i < n; i++)
            own += q[i] * open_[i] * rate_of[(size_t)i * wide + shown];
        return own;
    }
    static int topis_has_avx2(void) { return __builtin_cpu_supports("avx2") != 0; }
    #else
    #define topis_second_avx2(n, foes, fade, stop_s, rate, own, gives, share, foe, arrive, \\
        ahead, weight, cap, refill, inside, queue, open_, room, cost, gone, wait)
    #define topis_gains_avx2(n, wide, shown, own, worth_s, least_veh, rate_of, queue, soon, cap, \\
        weight, room, open_, sum, q) 0.0f
    #define topis_second_16(foes, fade, stop_s, rate, own, gives, share, foe, arrive, ahead, \\
        weight, cap, refill, inside, queue, open_, room, cost, gone)
    static int topis_has_avx512(void) { return 0; }
    static int topis_has_avx2(void) { return 0; }
    #endif
    """
    float chosen "topis_chosen"(int first, float a, float b) noexcept nogil
    void second_avx2 "topis_second_avx2"(
        int n, int foes, float fade, float stop_s, const float* rate, const float* own,
        const float* gives, const float* yield_share, const int* foe,
        const float* arrive, const float* ahead, const float* weight, const float* cap,
        const float* refill, const float* inside, float* queue, float* open_, float* room,
        float* cost, float* gone, float* wait,
    ) noexcept nogil
    float gains_avx2 "topis_gains_avx2"(
        int n, int wide, int shown, float own, float worth_s, float least_veh,
        const float* rate_of, const float* queue, const float* soon, const float* cap,
        const float* weight, const float* room, const float* open_, float* sum, float* q,
    ) noexcept nogil
    void second_16 "topis_second_16"(
        int foes, float fade, float stop_s, const float* rate, const float* own,
        const float* gives, const float* yield_share, const int* foe, const float* arrive,
        const float* ahead, const float* weight, const float* cap, const float* refill,
        const float* inside, float* queue, float* open_, float* room, float* cost, float* gone,
    ) noexcept nogil
    int has_avx512 "topis_has_avx512"() noexcept nogil
    int has_avx2 "topis_has_avx2"() noexcept nogil
