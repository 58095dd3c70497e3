#pragma once

// The handlers of the route table (route.h), by resource: <resource>_routes.cc.

#include "controlplane/api/route.h"

namespace ratchet::control {

// system
asio::awaitable<Answer> live(Context& context, const Call& call);
asio::awaitable<Answer> ready(Context& context, const Call& call);
asio::awaitable<Answer> show_health(Context& context, const Call& call);
asio::awaitable<Answer> show_metrics(Context& context, const Call& call);
Answer show_openapi(const Context& context, const Call& call);
Answer list_settings(const Context& context, const Call& call);

// tokens
asio::awaitable<Answer> create_token(Context& context, const Call& call);
Answer list_tokens(const Context& context, const Call& call);
Answer list_errors(const Context& context, const Call& call);
asio::awaitable<Answer> revoke_token(Context& context, const Call& call);

// nodes
asio::awaitable<Answer> list_nodes(Context& context, const Call& call);
asio::awaitable<Answer> show_node(Context& context, const Call& call);
asio::awaitable<Answer> drain_node(Context& context, const Call& call);
asio::awaitable<Answer> undrain_node(Context& context, const Call& call);
asio::awaitable<Answer> simulate_reclaim(Context& context, const Call& call);

// jobs
asio::awaitable<Answer> create_job(Context& context, const Call& call);
asio::awaitable<Answer> list_jobs(Context& context, const Call& call);
asio::awaitable<Answer> show_job(Context& context, const Call& call);
asio::awaitable<Answer> show_run(Context& context, const Call& call);
asio::awaitable<Answer> pause_job(Context& context, const Call& call);
asio::awaitable<Answer> resume_job(Context& context, const Call& call);
asio::awaitable<Answer> cancel_job(Context& context, const Call& call);
Answer list_attempts(const Context& context, const Call& call);
Answer list_checkpoints(const Context& context, const Call& call);
Answer list_interruptions(const Context& context, const Call& call);
Answer list_job_events(const Context& context, const Call& call);
Answer list_job_metrics(const Context& context, const Call& call);
Answer list_events(const Context& context, const Call& call);

// live
asio::awaitable<std::optional<Answer>> stream_job(Context& context, const Call& call,
                                                  net::Exchange& exchange);
asio::awaitable<std::optional<Answer>> read_log(Context& context, const Call& call,
                                                net::Exchange& exchange);
asio::awaitable<std::optional<Answer>> append_log(Context& context, const Call& call,
                                                  net::Exchange& exchange);

// artifacts
asio::awaitable<Answer> create_artifact(Context& context, const Call& call);
Answer list_artifacts(const Context& context, const Call& call);
Answer show_artifact(const Context& context, const Call& call);
asio::awaitable<Answer> seal_artifact(Context& context, const Call& call);
Answer show_file(const Context& context, const Call& call);
asio::awaitable<std::optional<Answer>> upload_file(Context& context, const Call& call,
                                                   net::Exchange& exchange);
asio::awaitable<std::optional<Answer>> download_file(Context& context, const Call& call,
                                                     net::Exchange& exchange);

// webhooks
asio::awaitable<Answer> create_webhook(Context& context, const Call& call);
Answer list_webhooks(const Context& context, const Call& call);
Answer show_webhook(const Context& context, const Call& call);
asio::awaitable<Answer> change_webhook(Context& context, const Call& call);
asio::awaitable<Answer> delete_webhook(Context& context, const Call& call);
asio::awaitable<Answer> rotate_webhook(Context& context, const Call& call);
asio::awaitable<Answer> test_webhook(Context& context, const Call& call);
Answer list_deliveries(const Context& context, const Call& call);
asio::awaitable<Answer> replay_webhook(Context& context, const Call& call);

// agent
asio::awaitable<Answer> agent_hello(Context& context, const Call& call);
asio::awaitable<Answer> agent_heartbeat(Context& context, const Call& call);
asio::awaitable<std::optional<Answer>> agent_sync(Context& context, const Call& call,
                                                  net::Exchange& exchange);
asio::awaitable<Answer> agent_notice(Context& context, const Call& call);

}  // namespace ratchet::control
