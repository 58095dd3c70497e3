#include "controlplane/webhooks/address_filter.h"

#include <gtest/gtest.h>

namespace ratchet::control {
namespace {

AddressPolicy allowing(std::initializer_list<const char*> networks) {
  AddressPolicy policy;
  for (const char* text : networks) policy.allowed.push_back(parse_network(text).value());
  return policy;
}

TEST(AddressFilter, InnerAddressesAreRefused) {
  for (const char* address : {"0.0.0.0",
                              "0.1.2.3",
                              "10.0.0.1",
                              "10.255.255.255",
                              "100.64.0.1",
                              "100.100.100.200",
                              "127.0.0.1",
                              "127.255.0.1",
                              "168.63.129.16",
                              "169.254.169.254",
                              "169.254.170.2",
                              "172.16.0.1",
                              "172.31.255.255",
                              "192.0.0.192",
                              "192.0.2.1",
                              "192.88.99.1",
                              "192.168.1.1",
                              "198.18.0.1",
                              "198.19.255.255",
                              "198.51.100.1",
                              "203.0.113.1",
                              "224.0.0.1",
                              "240.0.0.1",
                              "255.255.255.255",
                              "::",
                              "::1",
                              "::ffff:10.0.0.1",
                              "::ffff:127.0.0.1",
                              "::ffff:a9fe:a9fe",
                              "::127.0.0.1",
                              "64:ff9b::a9fe:a9fe",
                              "64:ff9b:1::1",
                              "100::1",
                              "2001::1",
                              "2001:db8::1",
                              "2002:7f00:1::",
                              "3fff::1",
                              "fc00::1",
                              "fd00:ec2::254",
                              "fe80::1",
                              "fe80::1%1",
                              "fec0::1",
                              "ff02::1",
                              "4000::1",
                              "no address",
                              "",
                              "1.2.3"}) {
    EXPECT_NE(refuse_address(address, {}), "") << address;
  }
}

TEST(AddressFilter, PublicAddressesMayBeUsed) {
  for (const char* address :
       {"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1",
        "169.253.0.1", "172.15.0.1", "172.32.0.1", "192.167.0.1", "198.17.0.1", "198.20.0.1",
        "223.255.255.255", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808",
        "2001:4860:4860::8888"}) {
    EXPECT_EQ(refuse_address(address, {}), "") << address;
  }
}

TEST(AddressFilter, TheOperatorMayAllowNetworks) {
  const AddressPolicy policy = allowing({"10.1.0.0/16", "::1", "192.168.1.20"});
  for (const char* address :
       {"10.1.0.1", "10.1.255.255", "::1", "192.168.1.20", "::ffff:10.1.2.3"}) {
    EXPECT_EQ(refuse_address(address, policy), "") << address;
  }
  for (const char* address : {"10.2.0.1", "127.0.0.1", "192.168.1.21", "169.254.169.254"}) {
    EXPECT_NE(refuse_address(address, policy), "") << address;
  }
  for (const char* text :
       {"", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/x", "::/129", "example.com", "10.0.0.0/8/8"}) {
    EXPECT_FALSE(parse_network(text)) << text;
  }
  EXPECT_EQ(refuse_address("10.2.3.4", allowing({"0.0.0.0/0"})), "");
}

TEST(AddressFilter, TheFirstUsableAddressIsTaken) {
  const net::Url url = net::parse_url("https://hooks.example.com/x").value();
  EXPECT_EQ(vet_addresses(url, {"10.0.0.1", "1.1.1.1", "8.8.8.8"}, {}).value(), "1.1.1.1");
  const auto refused = vet_addresses(url, {"10.0.0.1", "169.254.169.254"}, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kFailedPrecondition);
  EXPECT_FALSE(vet_addresses(url, {}, {}));
}

TEST(AddressFilter, PlaintextOnlyWhereItIsAllowed) {
  const net::Url url = net::parse_url("http://hooks.example.com/x").value();
  EXPECT_FALSE(vet_addresses(url, {"1.1.1.1"}, {}));
  EXPECT_TRUE(vet_addresses(url, {"10.1.2.3"}, allowing({"10.1.0.0/16"})));
  EXPECT_FALSE(vet_addresses(url, {"1.1.1.1"}, allowing({"10.1.0.0/16"})));
  AddressPolicy policy;
  policy.allow_http = true;
  EXPECT_TRUE(vet_addresses(url, {"1.1.1.1"}, policy));
}

TEST(AddressFilter, UrlsAreCheckedBeforeTheyAreResolved) {
  EXPECT_TRUE(check_webhook_url("https://hooks.example.com/x?a=1", {}));
  EXPECT_TRUE(check_webhook_url("http://127.0.0.1:9/x", allowing({"127.0.0.0/8"})));
  for (const char* url :
       {"http://hooks.example.com/", "ftp://h/", "https://127.0.0.1/", "https://[::1]/",
        "https://169.254.169.254/latest", "https://2130706433/", "https://0x7f000001/",
        "https://0177.0.0.1/", "https://127.1/", "https://[::ffff:10.0.0.1]/", "https://u:p@h/"}) {
    EXPECT_FALSE(check_webhook_url(url, {})) << url;
  }
}

}  // namespace
}  // namespace ratchet::control
