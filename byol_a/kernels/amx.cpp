// Products of bf16 matrices in the tiles of AMX (Intel Sapphire Rapids and later), for the shapes of BYOL-A's MLP: many
// rows, weights that are float32 and are rounded on the way, a gradient of weights that is a product of two transposed
// matrices and is wanted in float32. Elsewhere torch's product is used.
//
// A tile holds 16 rows of 64 bytes. `_tile_dpbf16ps(c, a, b)` adds to c (16 x 16, float32) the product of a (16 rows m,
// 32 columns k) and b, which holds pairs: row p, column n has the elements (2 p, n) and (2 p + 1, n) side by side. So
// both operands are packed: b as a whole, once; a in blocks that stay in the second-level cache of the core that uses
// them. All four ways in which they may lie in memory come down to two moves of 32-bit words, each a pair along k:
// interleaving two rows, and turning 16 x 16 words over.

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace {

using Index = int64_t;

constexpr Index PANEL = 32;           // rows of a, columns of b that go together: two tiles each, four of c
constexpr Index STEP = 32;            // along k
constexpr Index TILE = 16 * 32;       // elements
// A block of a stays in the second-level cache (1 MiB), a slice of a panel of b in the first (16 KiB).
constexpr Index ROWS = 256, DEPTH = 2048, SLICE = 256;
constexpr Index AHEAD = 1024 / ROWS;  // cache lines of the next panel to be fetched at each step, so that it is there

struct TileConfig {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_per_row[16];
    uint8_t rows[16];
};

void configure_tiles() {
    TileConfig config = {};
    config.palette = 1;
    for (int tile = 0; tile < 8; ++tile) config.bytes_per_row[tile] = 64, config.rows[tile] = 16;
    _tile_loadconfig(&config);
}

// A matrix (rows, columns) of bf16 or float32; one of the strides is 1.
struct Matrix {
    const void* data;
    int is_float;
    Index rows, columns, row_stride, column_stride;
};

inline __mmask16 first(Index count) {
    return count >= 16 ? 0xFFFF : (__mmask16)((1u << std::max<Index>(count, 0)) - 1);
}

// 16 neighbours as bf16, of which `count` exist.
inline __m256i sixteen(const Matrix& m, Index offset, Index count) {
    __mmask16 there = first(count);
    if (m.is_float)
        return (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(there, (const float*)m.data + offset));
    return _mm256_maskz_loadu_epi16(there, (const uint16_t*)m.data + offset);
}

inline void turn(__m512i* r) {  // 16 x 16 words
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xDD);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xDD);
    }
    for (int i = 0; i < 4; ++i) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xDD);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xDD);
    }
}

// Words (pair p of k, i) for 16 neighbours i, where these lie side by side: rows 2 p and 2 p + 1 interleaved.
inline void interleaved(const Matrix& m, Index stride, Index i, Index k, Index count, Index depth, __m512i* words) {
    for (int p = 0; p < 16; ++p) {
        __m256i even = sixteen(m, i + (k + 2 * p) * stride, k + 2 * p < depth ? count : 0);
        __m256i odd = sixteen(m, i + (k + 2 * p + 1) * stride, k + 2 * p + 1 < depth ? count : 0);
        words[p] = _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
    }
}

// Words (i, pair p of k) for 16 neighbours i, where k lies side by side.
inline void rows_of(const Matrix& m, Index stride, Index i, Index k, Index count, Index depth, __m512i* words) {
    for (int r = 0; r < 16; ++r) {
        Index offset = (i + r) * stride + k, here = r < count ? depth - k : 0;
        words[r] = _mm512_inserti64x4(_mm512_castsi256_si512(sixteen(m, offset, here)),
                                      sixteen(m, here > 16 ? offset + 16 : offset, here - 16), 1);
    }
}

inline void store_tile(uint16_t* to, const __m512i* words) {
    for (int r = 0; r < 16; ++r) _mm512_store_si512(to + 32 * r, words[r]);
}

// Panel `i` (32 neighbours) of k0 to k0 + depth, tile by tile. `pairs_first`: rows are pairs of k, as b wants them.
void pack(const Matrix& m, bool k_is_column, Index i, Index k0, Index depth, bool pairs_first, uint16_t* to) {
    const Index neighbours = k_is_column ? m.rows : m.columns;
    const Index whole_depth = k_is_column ? m.columns : m.rows;
    const Index neighbour_stride = k_is_column ? m.row_stride : m.column_stride;
    const Index k_stride = k_is_column ? m.column_stride : m.row_stride;
    __m512i words[16];
    for (Index k = k0; k < k0 + depth; k += STEP)
        for (int half = 0; half < 2; ++half, to += TILE) {
            Index first = i + 16 * half, count = std::min<Index>(16, neighbours - first);
            if (count <= 0) {
                std::memset(to, 0, TILE * sizeof *to);
                continue;
            }
            if (k_stride == 1) {
                rows_of(m, neighbour_stride, first, k, count, whole_depth, words);
                if (pairs_first) turn(words);
            } else {
                interleaved(m, k_stride, first, k, count, whole_depth, words);
                if (!pairs_first) turn(words);
            }
            store_tile(to, words);
        }
}

Index up(Index value, Index multiple) { return (value + multiple - 1) / multiple * multiple; }

struct Buffer {
    uint16_t* data = nullptr;
    Index size = 0;
    ~Buffer() { std::free(data); }
    uint16_t* of(Index wanted) {
        if (wanted > size) {
            std::free(data);
            data = (uint16_t*)std::aligned_alloc(4096, up(wanted * 2, 4096));
            size = data ? wanted : 0;
        }
        return data;
    }
};

Buffer packed_b;                    // used by one call at a time: the caller sees to that
thread_local Buffer packed_a;

// A slice of one panel of a by one of b: 32 x 32 sums, beginning from what is there or from 0.
inline void multiply(const uint16_t* a, const uint16_t* b, Index steps, float* sums, bool add, const char* next) {
    float* lower = sums + 16 * PANEL;
    asm volatile("" ::: "memory");  // the compiler is not told that tiles are loaded from memory
    if (add) {
        _tile_loadd(0, sums, 128);
        _tile_loadd(1, sums + 16, 128);
        _tile_loadd(2, lower, 128);
        _tile_loadd(3, lower + 16, 128);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (Index step = 0; step < steps; ++step, a += 2 * TILE, b += 2 * TILE, next += AHEAD * 64) {
        for (Index line = 0; line < AHEAD; ++line) _mm_prefetch(next + 64 * line, _MM_HINT_T1);
        _tile_loadd(4, a, 64);
        _tile_loadd(6, b, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + TILE, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a + TILE, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, 128);
    _tile_stored(1, sums + 16, 128);
    _tile_stored(2, lower, 128);
    _tile_stored(3, lower + 16, 128);
}

// 32 columns of `rows` rows of sums to c, added to what is there if `add`.
void write(const float* sums, Index rows, Index columns, const float* bias, void* c, bool is_float, Index stride,
           bool add) {
    const __mmask16 left = first(columns), right = first(columns - 16);
    const __m512 bias0 = bias ? _mm512_maskz_loadu_ps(left, bias) : _mm512_setzero_ps();
    const __m512 bias1 = bias ? _mm512_maskz_loadu_ps(right, bias + 16) : _mm512_setzero_ps();
    for (Index r = 0; r < rows; ++r) {
        __m512 v0 = _mm512_add_ps(_mm512_load_ps(sums + PANEL * r), bias0);
        __m512 v1 = _mm512_add_ps(_mm512_load_ps(sums + PANEL * r + 16), bias1);
        if (is_float) {
            float* to = (float*)c + r * stride;
            if (add) {
                v0 = _mm512_add_ps(v0, _mm512_maskz_loadu_ps(left, to));
                v1 = _mm512_add_ps(v1, _mm512_maskz_loadu_ps(right, to + 16));
            }
            _mm512_mask_storeu_ps(to, left, v0);
            _mm512_mask_storeu_ps(to + 16, right, v1);
        } else {
            uint16_t* to = (uint16_t*)c + r * stride;
            _mm256_mask_storeu_epi16(to, left, (__m256i)_mm512_cvtneps_pbh(v0));
            _mm256_mask_storeu_epi16(to + 16, right, (__m256i)_mm512_cvtneps_pbh(v1));
        }
    }
}

}  // namespace

extern "C" {

// The deepest product (K) whose result may be bf16: of deeper ones blocks are added up in c.
Index amx_depth() { return DEPTH; }

// Whether this process may use the tiles: the system keeps their state only for those that ask.
int amx_allowed() {
    constexpr long REQUEST = 0x1023, TILE_DATA = 18;
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}

// c (M, N) = a (M, K) b (K, N) + bias (N) or none. Inputs are bf16 or float32, which is rounded; sums are float32; c,
// whose rows are `c_stride` apart, is float32, or bf16 where K is at most DEPTH. Returns whether there was memory.
int amx_matmul(const void* a_data, int a_float, Index a_row, Index a_column, const void* b_data, int b_float,
               Index b_row, Index b_column, const float* bias, void* c, int c_float, Index c_stride, Index m, Index n,
               Index k, int threads) {
    const Matrix a = {a_data, a_float, m, k, a_row, a_column}, b = {b_data, b_float, k, n, b_row, b_column};
    const Index deep = up(k, STEP), panels = up(n, PANEL) / PANEL;
    // Blocks of rows that threads have equal numbers of, and that fit the cache.
    const Index share = up((m + threads - 1) / threads, PANEL), parts = up(share, ROWS) / ROWS;
    const Index rows = up((share + parts - 1) / parts, PANEL);
    uint16_t* all_b = packed_b.of(panels * PANEL * deep);
    if (!all_b) return 0;
    int failures = 0;
#pragma omp parallel num_threads(threads) reduction(+ : failures)
    {
        configure_tiles();
        uint16_t* own_a = packed_a.of(ROWS * DEPTH);
        alignas(64) float sums[ROWS * PANEL];
        failures += !own_a;
        // Block after block of k, in each panel after panel.
#pragma omp for schedule(static)
        for (Index panel = 0; panel < panels; ++panel)
            for (Index k0 = 0; k0 < deep; k0 += DEPTH) {
                Index depth = std::min(DEPTH, deep - k0);
                pack(b, false, panel * PANEL, k0, depth, true, all_b + (k0 * panels + panel * depth) * PANEL);
            }
#pragma omp for schedule(static)
        for (Index row0 = 0; row0 < m; row0 += rows)
            for (Index k0 = 0; k0 < deep && own_a; k0 += DEPTH) {
                Index here = std::min(rows, m - row0), depth = std::min(DEPTH, deep - k0);
                for (Index row = 0; row < here; row += PANEL)
                    pack(a, true, row0 + row, k0, depth, false, own_a + row * depth);
                for (Index panel = 0; panel < panels; ++panel) {
                    const uint16_t* of_panel = all_b + (k0 * panels + panel * depth) * PANEL;
                    const char* next = (const char*)(of_panel + depth * PANEL);
                    for (Index slice = 0; slice < depth; slice += SLICE)
                        for (Index row = 0; row < here; row += PANEL) {
                            Index steps = std::min(SLICE, depth - slice) / STEP;
                            multiply(own_a + row * depth + slice * PANEL, of_panel + slice * PANEL, steps,
                                     sums + row * PANEL, slice > 0, next);
                            next += steps * AHEAD * 64;
                        }
                    Index size = c_float ? 4 : 2, column = panel * PANEL;
                    write(sums, here, std::min(PANEL, n - column), bias && k0 == 0 ? bias + column : nullptr,
                          (char*)c + (row0 * c_stride + column) * size, c_float, c_stride, k0 > 0);
                }
            }
        _tile_release();
    }
    return failures == 0;
}
}

#endif
