#include "controlplane/webhooks/address_filter.h"

#include <algorithm>
#include <array>
#include <boost/asio/ip/address.hpp>
#include <charconv>
#include <optional>
#include <span>

namespace ratchet::control {

namespace {

using boost::asio::ip::address;
using boost::asio::ip::make_address;

struct Range4 {
  std::array<std::uint8_t, 4> network;
  int prefix;
  std::string_view what;
};
// IANA IPv4 special-purpose registry, and what clouds answer on besides.
constexpr std::array<Range4, 17> kRefused4{{
    {{0, 0, 0, 0}, 8, "this network"},
    {{10, 0, 0, 0}, 8, "private"},
    {{100, 64, 0, 0}, 10, "shared by carriers"},
    {{127, 0, 0, 0}, 8, "loopback"},
    {{168, 63, 129, 16}, 32, "a cloud's own service"},
    {{169, 254, 0, 0}, 16, "link-local, where clouds keep their metadata"},
    {{172, 16, 0, 0}, 12, "private"},
    {{192, 0, 0, 0}, 24, "reserved for protocols"},
    {{192, 0, 2, 0}, 24, "for documentation"},
    {{192, 88, 99, 0}, 24, "a relay"},
    {{192, 168, 0, 0}, 16, "private"},
    {{198, 18, 0, 0}, 15, "for benchmarks"},
    {{198, 51, 100, 0}, 24, "for documentation"},
    {{203, 0, 113, 0}, 24, "for documentation"},
    {{224, 0, 0, 0}, 4, "multicast"},
    {{240, 0, 0, 0}, 4, "reserved"},
    {{255, 255, 255, 255}, 32, "broadcast"},
}};

struct Range6 {
  std::array<std::uint8_t, 16> network;
  int prefix;
  std::string_view what;
};
// Within 2000::/3; everything outside it is refused as a whole.
constexpr std::array<Range6, 4> kRefused6{{
    {{0x20, 0x01, 0x00}, 23, "reserved for protocols"},
    {{0x20, 0x01, 0x0d, 0xb8}, 32, "for documentation"},
    {{0x20, 0x02}, 16, "a tunnel"},
    {{0x3f, 0xff, 0x00}, 20, "for documentation"},
}};
constexpr std::array<std::uint8_t, 16> kPublic6{0x20};
constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr std::array<std::uint8_t, 12> kTranslated{0x00, 0x64, 0xff, 0x9b};

bool in_network(std::span<const std::uint8_t> bytes, std::span<const std::uint8_t> network,
                int prefix) {
  if (bytes.size() != network.size()) return false;
  for (std::size_t i = 0; i < bytes.size() && prefix > 0; ++i, prefix -= 8) {
    const int bits = std::min(prefix, 8);
    const auto mask = static_cast<std::uint8_t>(0xFF << (8 - bits));
    if ((bytes[i] & mask) != (network[i] & mask)) return false;
  }
  return true;
}

// The bytes that count: an IPv4 address in IPv6 clothes is looked at as what it is.
std::vector<std::uint8_t> plain_bytes(const address& value) {
  if (value.is_v4()) {
    const auto bytes = value.to_v4().to_bytes();
    return {bytes.begin(), bytes.end()};
  }
  const auto bytes = value.to_v6().to_bytes();
  for (const auto& prefix : {kMapped, kTranslated}) {
    if (std::equal(prefix.begin(), prefix.end(), bytes.begin())) {
      return {bytes.begin() + 12, bytes.end()};
    }
  }
  return {bytes.begin(), bytes.end()};
}

std::optional<std::vector<std::uint8_t>> parse_address(std::string_view text) {
  boost::system::error_code fault;
  const address value = make_address(std::string(text), fault);
  if (fault) return std::nullopt;
  if (value.is_v6() && value.to_v6().scope_id() != 0) return std::nullopt;
  return plain_bytes(value);
}

std::string_view what_is(std::span<const std::uint8_t> bytes) {
  if (bytes.size() == 4) {
    for (const Range4& range : kRefused4) {
      if (in_network(bytes, range.network, range.prefix)) return range.what;
    }
    return {};
  }
  if (!in_network(bytes, kPublic6, 3)) return "not public";
  for (const Range6& range : kRefused6) {
    if (in_network(bytes, range.network, range.prefix)) return range.what;
  }
  return {};
}

bool in_allowed(std::span<const std::uint8_t> bytes, const AddressPolicy& policy) {
  return std::ranges::any_of(policy.allowed, [&](const AllowedNetwork& network) {
    return in_network(bytes, network.address, network.prefix);
  });
}

Error refused(const net::Url& url, const std::string& why) {
  return {Code::kFailedPrecondition,
          "Webhooks to " + url.authority() + " are not allowed: " + why +
              ". Use a public https address, or ask the operator to allow its network."};
}

}  // namespace

Result<AllowedNetwork> parse_network(std::string_view text) {
  const Error unusable{
      Code::kInvalidArgument,
      "\"" + std::string(text) +
          "\" is no network. Write an address, or one with a prefix: 10.1.0.0/16."};
  const std::size_t slash = text.find('/');
  boost::system::error_code fault;
  const address value = make_address(std::string(text.substr(0, slash)), fault);
  if (fault) return unusable;
  AllowedNetwork network;
  network.address = plain_bytes(value);
  const int bits = static_cast<int>(network.address.size()) * 8;
  network.prefix = bits;
  if (slash == std::string_view::npos) return network;
  const std::string_view prefix = text.substr(slash + 1);
  const auto [end, bad] = std::from_chars(prefix.begin(), prefix.end(), network.prefix);
  const bool good =
      bad == std::errc() && end == prefix.end() && network.prefix >= 0 && network.prefix <= bits;
  if (!good) return unusable;
  return network;
}

bool is_allowed_network(std::string_view text, const AddressPolicy& policy) {
  const auto bytes = parse_address(text);
  return bytes && in_allowed(*bytes, policy);
}

std::string refuse_address(std::string_view text, const AddressPolicy& policy) {
  const auto bytes = parse_address(text);
  if (!bytes) return "\"" + std::string(text) + "\" is no address";
  if (in_allowed(*bytes, policy)) return {};
  const std::string_view what = what_is(*bytes);
  if (what.empty()) return {};
  return std::string(text) + " is " + std::string(what);
}

Result<std::string> vet_addresses(const net::Url& url, const std::vector<std::string>& addresses,
                                  const AddressPolicy& policy) {
  std::string why = "it has no address";
  for (const std::string& candidate : addresses) {
    std::string refusal = refuse_address(candidate, policy);
    if (refusal.empty() && !url.https && !policy.allow_http &&
        !is_allowed_network(candidate, policy)) {
      refusal = "it is not https";
    }
    if (refusal.empty()) return candidate;
    why = refusal;
  }
  return refused(url, why);
}

Result<net::Url> check_webhook_url(std::string_view text, const AddressPolicy& policy) {
  auto url = net::parse_url(text);
  if (!url) return url.error();
  boost::system::error_code is_name;
  make_address(url->host, is_name);
  if (!is_name) {
    const auto vetted = vet_addresses(*url, {url->host}, policy);
    if (!vetted) return vetted.error();
    return url;
  }
  // What a resolver may read as a number in another spelling: 0x7f.1, 2130706433, 127.1.
  const bool numeric = url->host.find_first_not_of("0123456789.") == std::string::npos ||
                       url->host.starts_with("0x");
  if (numeric) return refused(*url, "its host must be a name or a plain address");
  if (!url->https && !policy.allow_http && policy.allowed.empty()) {
    return refused(*url, "it is not https");
  }
  return url;
}

}  // namespace ratchet::control
