#include "controlplane/core/job_machine.h"

#include <array>

namespace ratchet::control {

namespace {

using P = JobPhase;
using E = JobEvent;

constexpr std::array kSteps = std::to_array<JobStep>({
    {P::kValidating, E::kInputsReady, P::kQueued, "job.queued", true, Want::kRun},
    {P::kValidating, E::kInputsFailed, P::kFailed, "job.failed", false, Want::kStop},
    {P::kValidating, E::kFatal, P::kFailed, "job.failed", false, Want::kStop},
    {P::kValidating, E::kCancelIdle, P::kCancelled, "job.cancelled", false, Want::kStop},

    {P::kQueued, E::kOffered, P::kStarting, "job.starting", false, Want::kRun},
    {P::kQueued, E::kFatal, P::kFailed, "job.failed", false, Want::kStop},
    {P::kQueued, E::kPauseIdle, P::kPaused, "job.paused", false, Want::kStop},
    {P::kQueued, E::kCancelIdle, P::kCancelled, "job.cancelled", false, Want::kStop},

    {P::kStarting, E::kFirstStep, P::kRunning, "job.started", false, Want::kRun},
    {P::kStarting, E::kLost, P::kRecovering, "job.recovering", true, Want::kRun},
    {P::kStarting, E::kFatal, P::kFailed, "job.failed", false, Want::kStop},
    {P::kStarting, E::kPauseDrain, P::kPausing, "job.pausing", false, Want::kDrain},
    {P::kStarting, E::kCancelStop, P::kCancelling, "job.cancelling", false, Want::kStop},

    {P::kRunning, E::kLost, P::kRecovering, "job.recovering", true, Want::kRun},
    {P::kRunning, E::kCompleted, P::kSucceeded, "job.succeeded", false, Want::kStop},
    {P::kRunning, E::kFatal, P::kFailed, "job.failed", false, Want::kStop},
    {P::kRunning, E::kPauseDrain, P::kPausing, "job.pausing", false, Want::kDrain},
    {P::kRunning, E::kCancelStop, P::kCancelling, "job.cancelling", false, Want::kStop},

    {P::kRecovering, E::kOffered, P::kStarting, "job.starting", false, Want::kRun},
    {P::kRecovering, E::kReattached, P::kStarting, "job.starting", false, Want::kRun},
    {P::kRecovering, E::kNoCapacity, P::kQueued, "job.queued", true, Want::kRun},
    {P::kRecovering, E::kFatal, P::kFailed, "job.failed", false, Want::kStop},
    {P::kRecovering, E::kPauseIdle, P::kPaused, "job.paused", false, Want::kStop},
    {P::kRecovering, E::kCancelIdle, P::kCancelled, "job.cancelled", false, Want::kStop},

    {P::kPausing, E::kStopped, P::kPaused, "job.paused", false, Want::kStop},
    {P::kPausing, E::kLost, P::kPaused, "job.paused", false, Want::kStop},
    {P::kPausing, E::kCompleted, P::kSucceeded, "job.succeeded", false, Want::kStop},
    {P::kPausing, E::kFatal, P::kFailed, "job.failed", false, Want::kStop},
    {P::kPausing, E::kCancelStop, P::kCancelling, "job.cancelling", false, Want::kStop},

    {P::kPaused, E::kResume, P::kQueued, "job.queued", true, Want::kRun},
    {P::kPaused, E::kFatal, P::kFailed, "job.failed", false, Want::kStop},
    {P::kPaused, E::kCancelIdle, P::kCancelled, "job.cancelled", false, Want::kStop},

    {P::kCancelling, E::kStopped, P::kCancelled, "job.cancelled", false, Want::kStop},
    {P::kCancelling, E::kLost, P::kCancelled, "job.cancelled", false, Want::kStop},
    {P::kCancelling, E::kFatal, P::kCancelled, "job.cancelled", false, Want::kStop},
    {P::kCancelling, E::kCompleted, P::kCancelled, "job.cancelled", false, Want::kStop},
});

}  // namespace

std::optional<JobStep> next(JobPhase phase, JobEvent event) {
  for (const JobStep& step : kSteps) {
    if (step.from == phase && step.event == event) return step;
  }
  return std::nullopt;
}

std::span<const JobStep> job_steps() { return kSteps; }

}  // namespace ratchet::control
