// Vectors in the compilers' vector types (gcc, clang), as wide as the machine has them: wider ones are slow.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

namespace {

using Index = int64_t;

#if defined(__AVX512F__)
constexpr Index BYTES = 64;
#elif defined(__AVX__)
constexpr Index BYTES = 32;
#else
constexpr Index BYTES = 16;
#endif

template <typename Real>
struct Vector;
template <>
struct Vector<float> {
    typedef float Type __attribute__((vector_size(BYTES)));
    typedef int32_t Mask __attribute__((vector_size(BYTES)));
    typedef double Wide __attribute__((vector_size(2 * BYTES)));  // as many lanes
};
template <>
struct Vector<double> {
    typedef double Type __attribute__((vector_size(BYTES)));
    typedef int64_t Mask __attribute__((vector_size(BYTES)));
    typedef double Wide __attribute__((vector_size(BYTES)));
};

template <typename Real>
using VectorOf = typename Vector<Real>::Type;
template <typename Real>
using MaskOf = typename Vector<Real>::Mask;
template <typename Real>
using WideOf = typename Vector<Real>::Wide;
template <typename Real>
constexpr Index LANES = BYTES / sizeof(Real);

template <typename Real>
inline VectorOf<Real> load(const Real* from) {
    VectorOf<Real> value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

// Of a row's end: `count` values and zeros.
template <typename Real>
inline VectorOf<Real> load_first(const Real* from, Index count) {
    if (count >= LANES<Real>) return load(from);
    VectorOf<Real> value = {};
    std::memcpy(&value, from, sizeof(Real) * count);
    return value;
}

template <typename Real>
inline void store(Real* to, VectorOf<Real> value) {
    std::memcpy(to, &value, sizeof value);
}

template <typename Real>
inline void store_first(Real* to, VectorOf<Real> value, Index count) {
    if (count >= LANES<Real>) return store(to, value);
    std::memcpy(to, &value, sizeof(Real) * count);
}

// The lanes of two vectors in turns: of their first halves, or of their second.
template <typename Real, int64_t... I>
inline VectorOf<Real> in_turns(VectorOf<Real> a, VectorOf<Real> b, Index first, std::integer_sequence<int64_t, I...>) {
    constexpr Index N = LANES<Real>;
#ifdef __clang__
    return first ? __builtin_shufflevector(a, b, (N / 2 + I / 2 + I % 2 * N)...)
                 : __builtin_shufflevector(a, b, (I / 2 + I % 2 * N)...);
#else
    return first ? __builtin_shuffle(a, b, MaskOf<Real>{(N / 2 + I / 2 + I % 2 * N)...})
                 : __builtin_shuffle(a, b, MaskOf<Real>{(I / 2 + I % 2 * N)...});
#endif
}

// One round of what follows.
template <typename Real>
inline void interleave(const VectorOf<Real>* from, VectorOf<Real>* to) {
    constexpr Index HALF = LANES<Real> / 2;
    constexpr auto all = std::make_integer_sequence<int64_t, LANES<Real>>();
#pragma GCC unroll 8
    for (Index i = 0; i < HALF; ++i) {
        to[2 * i] = in_turns<Real>(from[i], from[i + HALF], 0, all);
        to[2 * i + 1] = in_turns<Real>(from[i], from[i + HALF], HALF, all);
    }
}

// Rows become columns, in place: as many rows as there are lanes. Each round brings together what stands half of the
// rows apart, so that one turns 2 rows over, and four turn 16.
template <typename Real, Index LEFT = LANES<Real>>
inline void transpose(VectorOf<Real>* rows) {
    VectorOf<Real> other[LANES<Real>];
    interleave<Real>(rows, other);
    if constexpr (LEFT > 2) interleave<Real>(other, rows);
    else std::memcpy(rows, other, sizeof other);
    if constexpr (LEFT > 4) transpose<Real, LEFT / 4>(rows);
}

// log(x) of positive numbers that are not subnormal, to about one unit in the last place; of infinity and NaN the same.
// The polynomial is that of Cephes (S. Moshier), for a mantissa between the square roots of 1/2 and 2.
inline VectorOf<float> logarithm(VectorOf<float> x) {
    typedef VectorOf<float> V;
    typedef MaskOf<float> M;
    M bits;
    std::memcpy(&bits, &x, sizeof x);
    M exponent = (bits - 0x3F3504F3) >> 23;
    bits -= exponent << 23;
    V mantissa, e = __builtin_convertvector(exponent, V);
    std::memcpy(&mantissa, &bits, sizeof bits);
    V f = mantissa - 1, square = f * f;
    V p = f * 7.0376836292e-2f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    V rest = p * f * square - e * 2.12194440e-4f - 0.5f * square;
    V result = f + rest + e * 0.693359375f;
    return x < HUGE_VALF ? result : x;
}

// exp(x) to about one unit in the last place; 1e-38 for less, infinity from 88.4 on, NaN of NaN (Cephes again).
inline VectorOf<float> exponential(VectorOf<float> x) {
    typedef VectorOf<float> V;
    typedef MaskOf<float> M;
    const float nearest = 12582912.0f;  // 1.5 * 2^23: added and taken away again, it rounds
    x = x < -87.0f ? V{} - 87.0f : x;
    x = x > 89.0f ? V{} + 89.0f : x;
    V n = x * 1.44269504088896341f + nearest - nearest;
    V r = x - n * 0.693359375f + n * 2.12194440e-4f;
    V p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1;
    M bits = (__builtin_convertvector(n, M) + 127) << 23;
    V power;
    std::memcpy(&power, &bits, sizeof bits);
    return p * power;
}

inline VectorOf<double> logarithm(VectorOf<double> x) {
    for (Index lane = 0; lane < LANES<double>; ++lane) x[lane] = std::log(x[lane]);
    return x;
}

inline VectorOf<double> exponential(VectorOf<double> x) {
    for (Index lane = 0; lane < LANES<double>; ++lane) x[lane] = std::exp(x[lane]);
    return x;
}

// Memory for whole vectors, of which a thread has its own.
template <typename Real>
class Room {
public:
    explicit Room(Index count) : data(new VectorOf<Real>[(count + LANES<Real> - 1) / LANES<Real>]()) {}
    ~Room() { delete[] data; }
    Room(const Room&) = delete;
    operator Real*() const { return reinterpret_cast<Real*>(data); }

private:
    VectorOf<Real>* data;
};

}  // namespace
