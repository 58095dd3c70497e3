// What the core decided, done.

#include <signal.h>

#include <ctime>
#include <iostream>
#include <utility>
#include <variant>

#include "agent/daemon/daemon_impl.h"

namespace ratchet::agent {

void Daemon::Impl::log(const std::string& message) const {
  std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char stamp[32];
  std::strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &utc);
  std::cerr << stamp << ' ' << message << std::endl;
}

void Daemon::Impl::save(const Save& item) {
  if (const auto* removed = std::get_if<RemoveAttempt>(&item)) {
    trainers->forget(removed->key);
    transfers->forget(removed->key);
    metrics.job_gone(removed->key.job_id);
  }
  const Status saved = state.apply(item);
  if (const auto* identity = std::get_if<SaveIdentity>(&item)) {
    if (!identity->node_token.empty()) link->set_node_token(identity->node_token);
  }
  if (saved) return;
  log("Cannot save the agent's state: " + saved.error().message);
  if (const auto* attempt = std::get_if<SaveAttempt>(&item)) {
    post(SaveFailed{{attempt->desired.job_id, attempt->desired.epoch}, saved.error().message});
  }
}

void Daemon::Impl::act(Action& action) {
  if (auto* hello = std::get_if<SendHello>(&action)) {
    link->send(std::move(*hello));
  } else if (auto* heartbeat = std::get_if<SendHeartbeat>(&action)) {
    link->send(std::move(*heartbeat));
  } else if (auto* sync = std::get_if<SendSync>(&action)) {
    sync->request.lines = trainers->lines(core);
    link->send(std::move(*sync));
  } else if (auto* notice = std::get_if<SendNotice>(&action)) {
    link->send(std::move(*notice));
  } else if (const auto* told = std::get_if<Tell>(&action)) {
    log(told->message);
  } else if (const auto* leaving = std::get_if<Leave>(&action)) {
    leave(*leaving);
  } else {
    act_on_attempt(action);
  }
}

void Daemon::Impl::act_on_attempt(Action& action) {
  if (const auto* inputs_wanted = std::get_if<PrepareInputs>(&action)) {
    transfers->prepare(inputs_wanted->desired);
  } else if (const auto* start = std::get_if<StartTrainer>(&action)) {
    start_trainer(*start);
  } else if (const auto* stop = std::get_if<StopTrainer>(&action)) {
    trainers->stop(*stop);
  } else if (const auto* killed = std::get_if<KillTrainer>(&action)) {
    trainers->signal(killed->key, SIGKILL);
  } else if (const auto* paused = std::get_if<PauseTrainer>(&action)) {
    trainers->signal(paused->key, SIGSTOP);
  } else if (const auto* going = std::get_if<ContinueTrainer>(&action)) {
    trainers->signal(going->key, SIGCONT);
  } else if (const auto* checkpoint = std::get_if<UploadCheckpoint>(&action)) {
    transfers->upload(*checkpoint);
  } else if (const auto* result = std::get_if<UploadResult>(&action)) {
    transfers->upload(*result);
  } else if (std::holds_alternative<CancelUploads>(action)) {
    transfers->cancel_uploads();
  } else if (const auto* dropped = std::get_if<DropCheckpoint>(&action)) {
    transfers->drop(*dropped);
  } else if (std::holds_alternative<DropCache>(action)) {
    transfers->make_room(transfers->cache().used());
  }
}

void Daemon::Impl::start_trainer(const StartTrainer& order) {
  const AttemptKey key{order.desired.job_id, order.desired.epoch};
  const PreparedInputs* prepared = transfers->prepared(key);
  if (prepared == nullptr) {
    post(StartFailed{key, "Its inputs were not prepared by this process."});
    return;
  }
  log("Starting attempt " + std::to_string(order.desired.attempt_no) + " of job " +
      key.job_id.str() + " (epoch " + std::to_string(key.epoch) + ").");
  trainers->start(order.desired, *prepared);
}

}  // namespace ratchet::agent
