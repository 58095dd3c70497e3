#pragma once

// AdamW whose moments are held as dynamic 8-bit numbers (Dettmers et al. 2022, "8-bit Optimizers
// via Block-wise Quantization"; code tables: kernels/block_formats.h): 2.03 bytes a parameter,
// not 8.
//
// Each tensor of the arena is cut into blocks of 256 elements, its last one may be shorter: no
// block mixes tensors, whose gradients may be decades apart. An update reads a block as fp32,
// applies adamw_step() (adamw.h), so that the parameters see the new moments before they are
// rounded, and rounds them to codes. Small tensors are no exception, as they are in bitsandbytes
// (fp32 below 4,096 elements): the error of a block does not depend on the size of its tensor.
//
// What a block holds, where it differs from the paper:
//  - The scale of a first moment is its largest element with the sign. The signed table has +1 but
//    no -1, so that under an unsigned scale the largest element of a negative block would shrink
//    each time it is read and rounded again.
//  - A second moment above zero is never stored as zero (Li et al. 2023, "Memory Efficient
//    Optimizers with 4-bit States"): in the denominator, zero would blow the next update up.
//  - A block whose largest magnitude is below 2^-104 (5e-32) is stored as zeros: what is stored
//    reads as normal fp32 numbers, whose rounding never moves one to the next code. A scale above
//    the largest fp32 number is held at that.
// Hence write() after read() restores every code and scale bit for bit, which is what lets
// checkpoints hold the moments as fp32.
//
// Single-threaded, the same bits on every execution. Not for several threads at once, but for
// concurrent read(). Allocates in the constructor only (throws std::bad_alloc).

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "trainer/model/lora_layout.h"
#include "trainer/train/adamw.h"

namespace ratchet::trainer {

class EightBitMoments {
 public:
  explicit EightBitMoments(const ArenaLayout& layout);  // all zero

  // adamw_step() with these moments; args.exp_avg and args.exp_avg_sq stay empty. params and grads
  // are whole arenas of the layout; a parameter in a gap between tensors is left as it is.
  void step(const AdamWArgs& args);

  // Whole arenas as fp32, zero in the gaps.
  void read(std::span<float> exp_avg, std::span<float> exp_avg_sq) const;
  // Rounds whole arenas to codes; what stands in the gaps is ignored.
  void write(std::span<const float> exp_avg, std::span<const float> exp_avg_sq);

  // What the moments of a layout take.
  static std::int64_t bytes(const ArenaLayout& layout);

  bool operator==(const EightBitMoments&) const = default;

 private:
  struct Moment {
    std::vector<std::uint8_t> codes;  // an element of the arena each
    std::vector<float> scales;        // a block each
    bool operator==(const Moment&) const = default;
  };
  struct Block {
    std::size_t begin = 0;  // in the arena
    std::size_t size = 0;
    std::size_t index = 0;
  };

  template <class F>
  void for_each_block(F&& visit) const;
  void read_block(const Block& block, float* exp_avg, float* exp_avg_sq) const;
  void write_block(const Block& block, const float* exp_avg, const float* exp_avg_sq);

  struct Extent {  // of a tensor
    std::size_t begin = 0;
    std::size_t size = 0;
    bool operator==(const Extent&) const = default;
  };
  std::vector<Extent> tensors_;
  Moment first_;
  Moment second_;
};

}  // namespace ratchet::trainer
