// Tensor cores: the only inline PTX. The lanes of a warp hold small matrices in their registers and multiply them
// together (PTX ISA 8.0, 9.7.13.4: fragments of mma.m16n8k16 with .bf16 and of mma.m16n8k8 with .tf32). All lanes of a warp
// call these functions. The emulator defines the same (emulator/mma.h).
#pragma once
#include <cstdint>

#include "cuda/chunk.h"
#include "cuda/simt.h"
#include "tensor/bf16.h"

namespace sfumato::cuda {

// Two numbers to the nearest bf16, `low` in the lower half.
__device__ std::uint32_t pair_of_bf16(float low, float high);
// To the nearest number of TF32, of 11 significant bits.
__device__ std::uint32_t tf32_of(float v);

// Where the row is that a lane names of four matrices, two above two others and each pair side by side, in rows of chunks: the
// second matrix is below the first, as multiply_add wants a, or beside it, as it wants b of two times eight columns that are
// rows here. (Of transposed matrices it is the other way round.)
struct RowOfFour {
  unsigned row, chunk;
};
constexpr RowOfFour below_first(unsigned lane) { return {lane % 16, lane / 16}; }
constexpr RowOfFour beside_first(unsigned lane) { return {lane / 16 * 8 + lane % 8, lane / 8 % 2}; }

// Four matrices of eight rows of 16 bytes in shared memory. Lane l gives the address of row l % 8 of matrix l / 8, and gets of
// each matrix the word l % 4 of row l / 4; by load_transposed(), of matrices of bf16, columns 2 (l % 4) and the next one of the
// transposed matrix's row l / 4. Addresses are multiples of 16.
__device__ void load_matrices(std::uint32_t (&r)[4], const Chunk* row);
__device__ void load_transposed(std::uint32_t (&r)[4], const Chunk* row);

// A word of shared memory.
__device__ std::uint32_t load_word(const std::uint32_t* from);
// Begins to copy a chunk of device memory, at a multiple of 16, to shared memory, by way of L1 (the taps of a filter read the
// same pixels); or zeros, if `from` is null. What a thread begins up to commit_copies() is a group. wait_for_copies<N>() ends
// all but the last N groups of the thread.
__device__ void copy_chunk(Chunk* to, const void* from);
__device__ void commit_copies();
template <int N>
__device__ void wait_for_copies();

// d += a b of a [16, terms] and b [terms, 8]: 16 terms in bf16, two to a word, or 8 in TF32. Lane l has
//   of d rows l / 4 (d[0], d[1]) and l / 4 + 8 (d[2], d[3]), columns 2 (l % 4) and the next one;
//   of a the word l % 4 of rows l / 4 and l / 4 + 8 (a[0], a[1]), and of both the word l % 4 + 4 (a[2], a[3]);
//   of b's column l / 4 the words l % 4 and l % 4 + 4.
__device__ void multiply_add(bf16, float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                             std::uint32_t b1);
__device__ void multiply_add(float, float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                             std::uint32_t b1);

#if defined(__CUDACC__)

__device__ inline std::uint32_t pair_of_bf16(float low, float high) {
  std::uint32_t r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
__device__ inline std::uint32_t tf32_of(float v) {
  std::uint32_t r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(v));
  return r;
}

__device__ inline void load_matrices(std::uint32_t (&r)[4], const Chunk* row) {
  const auto at = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at)
               : "memory");
}
__device__ inline void load_transposed(std::uint32_t (&r)[4], const Chunk* row) {
  const auto at = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at)
               : "memory");
}

__device__ inline std::uint32_t load_word(const std::uint32_t* from) { return *from; }
__device__ inline void copy_chunk(Chunk* to, const void* from) {
  const auto at = static_cast<std::uint32_t>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(at), "l"(from), "r"(from ? 16 : 0)
               : "memory");
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" : : : "memory"); }
template <int N>
__device__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" : : "n"(N) : "memory");
}

__device__ inline void multiply_add(bf16, float (&d)[4], const std::uint32_t (&a)[4],
                                    std::uint32_t b0, std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ inline void multiply_add(float, float (&d)[4], const std::uint32_t (&a)[4],
                                    std::uint32_t b0, std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif

}  // namespace sfumato::cuda

#if !defined(__CUDACC__)
#include "cuda/emulator/mma.h"
#endif
