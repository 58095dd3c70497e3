#pragma once

// Reading and writing safetensors files. The format's rules live in safetensors.h.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "proto/result.h"
#include "trainer/model/file_io.h"
#include "trainer/model/safetensors.h"

namespace ratchet::trainer {

// An opened, fully validated file. Reads are positioned (pread): const methods are thread-safe.
class SafetensorsFile {
 public:
  // Opens and validates; nothing of the data section is read.
  static Result<SafetensorsFile> open(const std::filesystem::path& path);

  [[nodiscard]] const SafetensorsHeader& header() const { return header_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  // Fills `dst`, which must have exactly the tensor's size. `tensor` belongs to header().
  Status read(const StoredTensor& tensor, std::span<std::byte> dst) const;

  // Fills `dst` from byte `offset` of the tensor on; the range must lie inside the tensor.
  Status read_range(const StoredTensor& tensor, std::uint64_t offset,
                    std::span<std::byte> dst) const;

 private:
  SafetensorsFile() = default;

  std::filesystem::path path_;
  Fd fd_;
  SafetensorsHeader header_;
};

// A read-only mapping of a file's data section. The file must not be truncated while mapped.
class MappedSafetensors {
 public:
  static Result<MappedSafetensors> map(const SafetensorsFile& file);
  ~MappedSafetensors();
  MappedSafetensors(MappedSafetensors&& other) noexcept;
  MappedSafetensors& operator=(MappedSafetensors&&) = delete;

  // The tensor's bytes; valid while this object lives. `tensor` belongs to the mapped file.
  [[nodiscard]] std::span<const std::byte> bytes(const StoredTensor& tensor) const;

 private:
  MappedSafetensors() = default;

  void* base_ = nullptr;
  std::uint64_t mapped_bytes_ = 0;
  std::uint64_t data_start_ = 0;
};

// Writes a file piece by piece in any order, also from several threads (distinct ranges). The file
// has the name `path` only after finish(): until then it is `path` + ".part", which the destructor
// removes.
class SafetensorsWriter {
 public:
  static Result<SafetensorsWriter> create(const std::filesystem::path& path,
                                          std::vector<TensorSpec> tensors,
                                          const SafetensorsLayoutOptions& options = {});
  ~SafetensorsWriter();
  SafetensorsWriter(SafetensorsWriter&&) noexcept = default;
  SafetensorsWriter& operator=(SafetensorsWriter&&) = delete;

  [[nodiscard]] const SafetensorsHeader& header() const { return layout_.header; }

  // Writes `src` at byte `offset` of the tensor. `tensor` belongs to header().
  Status write_range(const StoredTensor& tensor, std::uint64_t offset,
                     std::span<const std::byte> src) const;
  Status write(const StoredTensor& tensor, std::span<const std::byte> src) const;

  // fdatasync, rename to `path`. The caller has written every byte of every tensor.
  Status finish();

 private:
  SafetensorsWriter() = default;

  std::filesystem::path path_;
  std::filesystem::path part_path_;
  Fd fd_;
  SafetensorsLayout layout_;
};

}  // namespace ratchet::trainer
