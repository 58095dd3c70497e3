#include "proto/job_state.h"

#include <algorithm>
#include <array>
#include <string>

namespace ratchet {

namespace {

template <class State>
struct Edge {
  State from;
  State to;
};

// Besides these, every state that is not terminal may become failed or cancelled.
constexpr std::array<Edge<JobState>, 15> kJobEdges{{
    {JobState::kQueued, JobState::kProvisioning},
    {JobState::kProvisioning, JobState::kTraining},
    {JobState::kProvisioning, JobState::kRecovering},  // the node was lost before the first step
    {JobState::kTraining, JobState::kCompleted},
    {JobState::kTraining, JobState::kInterrupted},
    {JobState::kTraining, JobState::kPaused},
    {JobState::kQueued, JobState::kPaused},  // nothing runs: there is nothing to save first
    {JobState::kInterrupted, JobState::kPaused},
    {JobState::kRecovering, JobState::kPaused},
    {JobState::kRecovering, JobState::kInterrupted},  // the next node was lost as well
    {JobState::kInterrupted, JobState::kRecovering},
    {JobState::kRecovering, JobState::kProvisioning},
    {JobState::kRecovering, JobState::kTraining},  // resumed
    {JobState::kRecovering, JobState::kQueued},    // no capacity
    {JobState::kPaused, JobState::kQueued},
}};

// Besides these, every state may become ended.
constexpr std::array<Edge<AttemptState>, 5> kAttemptEdges{{
    {AttemptState::kOffered, AttemptState::kAccepted},
    {AttemptState::kAccepted, AttemptState::kPreparing},
    {AttemptState::kPreparing, AttemptState::kLoading},
    {AttemptState::kLoading, AttemptState::kRunning},
    {AttemptState::kRunning, AttemptState::kDraining},
}};

template <class State>
bool has_edge(std::span<const Edge<State>> edges, State from, State to) {
  return std::ranges::any_of(
      edges, [=](const Edge<State>& edge) { return edge.from == from && edge.to == to; });
}

template <class State>
Error illegal(const char* what, State from, State to) {
  return Error{Code::kFailedPrecondition, std::string(what) + " cannot go from " +
                                              std::string(to_word(from)) + " to " +
                                              std::string(to_word(to)) + "."};
}

}  // namespace

std::span<const Word<JobState>> word_table(JobState) {
  static constexpr std::array<Word<JobState>, 9> kTable{{
      {JobState::kQueued, "queued"},
      {JobState::kProvisioning, "provisioning"},
      {JobState::kTraining, "training"},
      {JobState::kInterrupted, "interrupted"},
      {JobState::kRecovering, "recovering"},
      {JobState::kPaused, "paused"},
      {JobState::kCompleted, "completed"},
      {JobState::kFailed, "failed"},
      {JobState::kCancelled, "cancelled"},
  }};
  return kTable;
}

std::span<const Word<AttemptState>> word_table(AttemptState) {
  static constexpr std::array<Word<AttemptState>, 7> kTable{{
      {AttemptState::kOffered, "offered"},
      {AttemptState::kAccepted, "accepted"},
      {AttemptState::kPreparing, "preparing"},
      {AttemptState::kLoading, "loading"},
      {AttemptState::kRunning, "running"},
      {AttemptState::kDraining, "draining"},
      {AttemptState::kEnded, "ended"},
  }};
  return kTable;
}

bool is_terminal(JobState state) {
  return state == JobState::kCompleted || state == JobState::kFailed ||
         state == JobState::kCancelled;
}

bool is_terminal(AttemptState state) { return state == AttemptState::kEnded; }

bool is_legal(JobState from, JobState to) {
  if (is_terminal(from)) return false;
  if (to == JobState::kFailed || to == JobState::kCancelled) return true;
  return has_edge<JobState>(kJobEdges, from, to);
}

bool is_legal(AttemptState from, AttemptState to) {
  if (is_terminal(from)) return false;
  if (to == AttemptState::kEnded) return true;
  return has_edge<AttemptState>(kAttemptEdges, from, to);
}

Result<JobState> transition(JobState from, JobState to) {
  if (!is_legal(from, to)) return illegal("A job", from, to);
  return to;
}

Result<AttemptState> transition(AttemptState from, AttemptState to) {
  if (!is_legal(from, to)) return illegal("An attempt", from, to);
  return to;
}

}  // namespace ratchet
