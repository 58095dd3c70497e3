#include "controlplane/api/route.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "controlplane/api/api.h"
#include "controlplane/api/auth.h"
#include "controlplane/api/openapi.h"

namespace ratchet::control {
namespace {

using nlohmann::json;

TEST(Routes, EachHasOneHandlerAndItsOwnName) {
  std::set<std::string_view> names;
  std::set<std::pair<std::string_view, int>> places;
  for (const auto& route : route_table()) {
    const int handlers = (route.read != nullptr ? 1 : 0) + (route.act != nullptr ? 1 : 0) +
                         (route.stream != nullptr ? 1 : 0);
    EXPECT_EQ(handlers, 1) << route.path;
    EXPECT_TRUE(names.insert(route.operation).second) << route.operation;
    EXPECT_TRUE(places.insert({route.path, static_cast<int>(route.method)}).second) << route.path;
    EXPECT_FALSE(route.answers.empty()) << route.path;
    EXPECT_EQ(route.max_body > 0, !route.request_schema.empty()) << route.path;
  }
}

TEST(Routes, DocumentHasExactlyTheTable) {
  const auto document = json::parse(openapi_document(route_table()));
  std::set<std::string> described;
  for (const auto& [path, operations] : document["paths"].items()) {
    for (const auto& [method, operation] : operations.items()) {
      described.insert(method + " " + path + " " + operation["operationId"].get<std::string>());
    }
  }
  std::set<std::string> served;
  for (const auto& route : route_table()) {
    std::string method;
    for (const char c : net::method_name(route.method))
      method += static_cast<char>(std::tolower(c));
    served.insert(method + " " + std::string(route.path) + " " + std::string(route.operation));
  }
  EXPECT_EQ(described, served);
  EXPECT_EQ(document["openapi"], "3.1.0");
}

void check_references(const json& value, const json& schemas) {
  if (value.is_object() && value.contains("$ref")) {
    const std::string name = value["$ref"].get<std::string>().substr(21);
    EXPECT_TRUE(schemas.contains(name)) << name;
  }
  if (value.is_structured()) {
    for (const auto& part : value) check_references(part, schemas);
  }
}

TEST(Routes, DocumentRefersToWhatItHas) {
  const auto document = json::parse(openapi_document(route_table()));
  check_references(document, document["components"]["schemas"]);
}

TEST(Routes, ParametersOfPathsAreUnescaped) {
  const auto found = match_route(route_table(), net::Method::kGet, "/v1/jobs/a%20b");
  ASSERT_NE(found.route, nullptr);
  EXPECT_EQ(found.parameters.at("id"), "a b");
  EXPECT_EQ(match_route(route_table(), net::Method::kGet, "/v1/jobs/").route, nullptr);
  EXPECT_EQ(match_route(route_table(), net::Method::kGet, "/v1/jobs/a/b").route, nullptr);
  EXPECT_EQ(match_route(route_table(), net::Method::kGet, "/v1/jobs/%zz").route, nullptr);
}

TEST(Routes, FilePathsHoldSlashes) {
  for (const auto* path :
       {"/v1/artifacts/art_1/files/a/b%2Fc", "/v1/artifacts/art_1/files/a%2Fb/c"}) {
    const auto found = match_route(route_table(), net::Method::kPut, path);
    ASSERT_NE(found.route, nullptr) << path;
    EXPECT_EQ(found.parameters.at("path"), "a/b/c");
    EXPECT_EQ(found.parameters.at("id"), "art_1");
  }
}

TEST(Routes, WrongMethodNamesTheRightOnes) {
  const auto found = match_route(route_table(), net::Method::kDelete, "/v1/jobs");
  EXPECT_EQ(found.route, nullptr);
  EXPECT_EQ(found.allowed, "POST, GET");
}

TEST(Access, ScopesReachOnlyTheirRoutes) {
  using enum Access;
  for (const auto has : {kUser, kAdmin, kAgent, kJoin}) EXPECT_TRUE(may(has, kOpen));
  EXPECT_TRUE(may(kAdmin, kUser));
  EXPECT_TRUE(may(kAgent, kTransfer));
  EXPECT_TRUE(may(kAgent, kJoin));
  EXPECT_FALSE(may(kUser, kAdmin));
  EXPECT_FALSE(may(kAdmin, kAgent));
  EXPECT_FALSE(may(kAgent, kUser));
  EXPECT_FALSE(may(kJoin, kTransfer));
  EXPECT_FALSE(may(kJoin, kAgent));
  EXPECT_FALSE(may(kOpen, kUser));
}

}  // namespace
}  // namespace ratchet::control
