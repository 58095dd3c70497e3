#include "controlplane/service/ingest.h"

#include "proto/events.h"

namespace ratchet::control {

namespace {

MetricRow metric_of(const TrainerLine& line, const StepEvent& step, UnixMillis time) {
  MetricRow row;
  row.job_id = line.job_id;
  row.step = step.step;
  row.attempt_no = line.attempt_no;
  row.total_steps = step.total_steps;
  row.loss = step.loss;
  row.loss_bits = double_bits(step.loss);
  row.grad_norm = step.grad_norm;
  row.lr = step.lr;
  row.data_epoch = step.data_epoch;
  row.tokens = step.tokens;
  row.tokens_per_s = step.tokens_per_s;
  row.step_ms = step.times.total_ms;
  row.eta_s = step.eta_s;
  if (step.vram) {
    row.vram_allocated = step.vram->allocated;
    row.vram_peak = step.vram->peak;
  }
  row.replayed = step.replayed;
  row.time = time;
  return row;
}

}  // namespace

LastStep last_step_of(const MetricRow& row) {
  return {.step = row.step,
          .total_steps = row.total_steps,
          .loss = row.loss,
          .tokens_per_s = row.tokens_per_s,
          .eta_s = row.eta_s,
          .lr = row.lr,
          .data_epoch = row.data_epoch,
          .vram_allocated = row.vram_allocated,
          .vram_peak = row.vram_peak,
          .vram_used = Bytes(0),
          .replayed = row.replayed,
          .time = row.time};
}

Ingested ingest_lines(const std::vector<TrainerLine>& lines) {
  Ingested out;
  for (const auto& line : lines) {
    const auto event = decode_event(line.line);
    if (!event) continue;
    if (const auto* step = std::get_if<StepEvent>(&event->body)) {
      out.metrics.push_back(metric_of(line, *step, event->header.time));
      auto last = last_step_of(out.metrics.back());
      if (step->vram) last.vram_used = step->vram->device_used;
      out.last[line.job_id] = last;
    } else if (const auto* evaluation = std::get_if<EvaluationEvent>(&event->body)) {
      out.evaluations.push_back({.job_id = line.job_id,
                                 .step = evaluation->step,
                                 .attempt_no = line.attempt_no,
                                 .loss = evaluation->loss,
                                 .best = evaluation->best,
                                 .time = event->header.time});
    }
  }
  return out;
}

}  // namespace ratchet::control
