#pragma once

// Where webhooks may go (against server-side request forgery). Users choose the address, so the
// control plane must not become their way into its own network: what a name resolves to is looked
// at, and the connection goes to exactly the address that was looked at.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proto/net/url.h"
#include "proto/result.h"

namespace ratchet::control {

// "10.1.0.0/16", "::1", "192.168.1.20": networks that the operator allows although they are not
// public.
struct AllowedNetwork {
  std::vector<std::uint8_t> address;  // 4 or 16 bytes, network order
  int prefix = 0;                     // bits
};
Result<AllowedNetwork> parse_network(std::string_view text);

struct AddressPolicy {
  std::vector<AllowedNetwork> allowed;
  bool allow_http = false;  // plaintext to public addresses; to allowed networks it always may
};

// "" when a connection may go there; else why not. Understands mapped, translated and tunnelled
// forms of IPv4 in IPv6.
std::string refuse_address(std::string_view address, const AddressPolicy& policy);
// Whether the address lies in a network that the operator has allowed by name.
bool is_allowed_network(std::string_view address, const AddressPolicy& policy);

// The first address that may be used; kFailedPrecondition when there is none.
Result<std::string> vet_addresses(const net::Url& url, const std::vector<std::string>& addresses,
                                  const AddressPolicy& policy);

// What can be said of a URL before it is resolved: form, scheme, numeric hosts. For registering.
Result<net::Url> check_webhook_url(std::string_view url, const AddressPolicy& policy);

}  // namespace ratchet::control
