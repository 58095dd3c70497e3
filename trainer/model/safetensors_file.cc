#include "trainer/model/safetensors_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>

namespace ratchet::trainer {

namespace {

Status check_range(const StoredTensor& tensor, std::uint64_t offset, std::uint64_t bytes) {
  if (offset <= tensor.bytes() && bytes <= tensor.bytes() - offset) return ok();
  return Error{Code::kInternal, cat("Bytes ", offset, " to ", offset + bytes, " of the tensor '",
                                    tensor.name, "' were asked for; it has ", tensor.bytes(), ".")};
}

Error named(const std::filesystem::path& path, const Error& error) {
  return Error{error.code, cat("'", path.string(), "': ", error.message)};
}

}  // namespace

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile file;
  file.path_ = path;
  Result<Fd> fd = open_for_read(path);
  if (!fd) return fd.error();
  file.fd_ = std::move(*fd);
  const Result<std::uint64_t> bytes = file_size(file.fd_, path);
  if (!bytes) return bytes.error();

  std::vector<std::byte> head(std::min<std::uint64_t>(*bytes, 8));
  if (Status read = read_at(file.fd_, path, 0, head); !read) return read.error();
  const Result<std::uint64_t> length = parse_safetensors_header_length(head, *bytes);
  if (!length) return named(path, length.error());

  head.resize(8 + *length);
  if (Status read = read_at(file.fd_, path, 0, head); !read) return read.error();
  Result<SafetensorsHeader> header = parse_safetensors_header(head, *bytes);
  if (!header) return named(path, header.error());
  file.header_ = std::move(*header);
  return file;
}

Status SafetensorsFile::read(const StoredTensor& tensor, std::span<std::byte> dst) const {
  if (dst.size() != tensor.bytes()) {
    return Error{Code::kInternal, cat("The tensor '", tensor.name, "' has ", tensor.bytes(),
                                      " bytes; a buffer of ", dst.size(), " was given.")};
  }
  return read_range(tensor, 0, dst);
}

Status SafetensorsFile::read_range(const StoredTensor& tensor, std::uint64_t offset,
                                   std::span<std::byte> dst) const {
  if (Status checked = check_range(tensor, offset, dst.size()); !checked) return checked;
  return read_at(fd_, path_, header_.data_start + tensor.begin + offset, dst);
}

Result<MappedSafetensors> MappedSafetensors::map(const SafetensorsFile& file) {
  const Result<Fd> fd = open_for_read(file.path());
  if (!fd) return fd.error();
  const Result<std::uint64_t> bytes = file_size(*fd, file.path());
  if (!bytes) return bytes.error();
  if (*bytes != file.header().file_bytes) {
    return Error{Code::kCorrupt, cat("'", file.path().string(), "' had ", file.header().file_bytes,
                                     " bytes when it was opened and has ", *bytes, " now.")};
  }
  MappedSafetensors mapped;
  mapped.data_start_ = file.header().data_start;
  void* const base = ::mmap(nullptr, *bytes, PROT_READ, MAP_SHARED, fd->get(), 0);
  if (base == MAP_FAILED) return io_error("map", file.path(), errno);
  mapped.base_ = base;
  mapped.mapped_bytes_ = *bytes;
  return mapped;
}

MappedSafetensors::~MappedSafetensors() {
  if (base_ != nullptr) ::munmap(base_, mapped_bytes_);
}

MappedSafetensors::MappedSafetensors(MappedSafetensors&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)),
      mapped_bytes_(other.mapped_bytes_),
      data_start_(other.data_start_) {}

std::span<const std::byte> MappedSafetensors::bytes(const StoredTensor& tensor) const {
  return {static_cast<const std::byte*>(base_) + data_start_ + tensor.begin, tensor.bytes()};
}

Result<SafetensorsWriter> SafetensorsWriter::create(const std::filesystem::path& path,
                                                    std::vector<TensorSpec> tensors,
                                                    const SafetensorsLayoutOptions& options) {
  Result<SafetensorsLayout> layout = layout_safetensors(std::move(tensors), options);
  if (!layout) return layout.error();
  SafetensorsWriter writer;
  writer.path_ = path;
  std::filesystem::path part_path = path;
  part_path += ".part";
  writer.layout_ = std::move(*layout);
  writer.fd_ = Fd(::open(part_path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!writer.fd_.open()) return io_error("create", part_path, errno);
  writer.part_path_ = std::move(part_path);
  // A full disk shows here, before hours of work, where the file system can reserve.
  const int reserved =
      ::posix_fallocate(writer.fd_.get(), 0, static_cast<off_t>(writer.layout_.header.file_bytes));
  if (reserved != 0 && reserved != EOPNOTSUPP && reserved != EINVAL) {
    return io_error("reserve room for", writer.part_path_, reserved);
  }
  const Status written =
      write_at(writer.fd_, writer.part_path_, 0, std::as_bytes(std::span(writer.layout_.prefix)));
  if (!written) return written.error();
  return writer;
}

SafetensorsWriter::~SafetensorsWriter() {
  if (fd_.open()) ::unlink(part_path_.c_str());
}

Status SafetensorsWriter::write_range(const StoredTensor& tensor, std::uint64_t offset,
                                      std::span<const std::byte> src) const {
  if (Status checked = check_range(tensor, offset, src.size()); !checked) return checked;
  return write_at(fd_, part_path_, layout_.header.data_start + tensor.begin + offset, src);
}

Status SafetensorsWriter::write(const StoredTensor& tensor, std::span<const std::byte> src) const {
  if (src.size() != tensor.bytes()) {
    return Error{Code::kInternal, cat("The tensor '", tensor.name, "' has ", tensor.bytes(),
                                      " bytes; ", src.size(), " were given.")};
  }
  return write_range(tensor, 0, src);
}

Status SafetensorsWriter::finish() {
  // Without fallocate a file whose last tensor is empty could end early; this sets its length.
  if (::ftruncate(fd_.get(), static_cast<off_t>(layout_.header.file_bytes)) != 0) {
    return io_error("set the length of", part_path_, errno);
  }
  if (::fdatasync(fd_.get()) != 0) return io_error("flush", part_path_, errno);
  if (::rename(part_path_.c_str(), path_.c_str()) != 0) {
    return io_error("give its name to", path_, errno);
  }
  if (fd_.close_now() != 0) return io_error("close", path_, errno);
  return sync_parent(path_);
}

}  // namespace ratchet::trainer
