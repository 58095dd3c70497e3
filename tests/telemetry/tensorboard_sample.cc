// Writes the event files of a job that was killed and resumed into a folder, for
// tensorboard_test.py: usage: tensorboard_sample FOLDER
//
// First attempt: steps 1 to 120 with loss 10 - step/100. Second, resumed from the checkpoint of
// step 100: steps 101 to 150 with loss 5.

#include <cstdint>
#include <cstdio>

#include "trainer/telemetry/tensorboard_writer.h"

using ratchet::trainer::TensorBoardWriter;

namespace {

bool write_attempt(const char* folder, double seconds, std::int64_t first, std::int64_t last,
                   bool resumed) {
  auto writer = TensorBoardWriter::create(
      {.folder = folder, .first_step = first, .clock = [seconds] { return seconds; }});
  if (!writer) {
    std::fprintf(stderr, "%s\n", writer.error().message.c_str());
    return false;
  }
  for (std::int64_t step = first; step <= last; ++step) {
    const double loss = resumed ? 5.0 : 10.0 - static_cast<double>(step) / 100.0;
    if (!(*writer)->add_scalar("train/loss", step, loss)) return false;
  }
  return (*writer)->add_scalar("eval/loss", last, resumed ? 1.5 : 2.5).has_value() &&
         (*writer)->flush().has_value();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: tensorboard_sample FOLDER\n");
    return 2;
  }
  const bool good = write_attempt(argv[1], 1'763'722'800.25, 1, 120, false) &&
                    write_attempt(argv[1], 1'763'722'900.5, 101, 150, true);
  return good ? 0 : 1;
}
