#include "proto/net/url.h"

#include <gtest/gtest.h>

#include <random>

namespace ratchet::net {
namespace {

TEST(Url, PartsAreTakenApart) {
  const Url url = parse_url("https://Control.Example.com:7443/base/x?a=1&b=2").value();
  EXPECT_TRUE(url.https);
  EXPECT_EQ(url.host, "control.example.com");
  EXPECT_EQ(url.port, 7443);
  EXPECT_EQ(url.path, "/base/x");
  EXPECT_EQ(url.query, "a=1&b=2");
  EXPECT_EQ(url.text(), "https://control.example.com:7443/base/x?a=1&b=2");
  EXPECT_EQ(join_target(url, "/v1/jobs"), "/base/x/v1/jobs");
}

TEST(Url, DefaultsAreThoseOfTheScheme) {
  EXPECT_EQ(parse_url("http://h").value().port, 80);
  EXPECT_EQ(parse_url("https://h").value().port, 443);
  EXPECT_EQ(parse_url("http://h").value().path, "/");
  EXPECT_EQ(parse_url("http://h?x=1").value().query, "x=1");
  EXPECT_EQ(parse_url("http://h:80/").value().text(), "http://h/");
  EXPECT_EQ(join_target(parse_url("http://h/").value(), "v1"), "/v1");
}

TEST(Url, Ipv6HostsLoseTheirBrackets) {
  const Url url = parse_url("http://[::1]:7070/").value();
  EXPECT_EQ(url.host, "::1");
  EXPECT_EQ(url.authority(), "[::1]:7070");
}

TEST(Url, WhatIsNoUrlIsRefused) {
  for (const char* text : {"",
                           "h",
                           "ftp://h",
                           "http://",
                           "http:///x",
                           "http://u:p@h/",
                           "http://h:0/",
                           "http://h:70000",
                           "http://h:",
                           "http://h:7x",
                           "http://h/#f",
                           "http://h/a b",
                           "http://h/\n",
                           "http://[::1",
                           "http://[zz]/",
                           "http://[::1]x",
                           "http://h/%zz",
                           "http://h/%00",
                           "http://h\\x/",
                           "http://\xC3\xA9/"}) {
    EXPECT_FALSE(parse_url(text)) << text;
  }
  EXPECT_FALSE(parse_url("http://h/" + std::string(kMaxUrlBytes, 'a')));
}

TEST(Url, EscapesRoundTrip) {
  std::mt19937_64 random(std::random_device{}());
  for (int i = 0; i < 500; ++i) {
    std::string text;
    for (std::uint64_t n = random() % 40; n > 0; --n) {
      text += static_cast<char>(1 + random() % 255);
    }
    std::string back;
    ASSERT_TRUE(url_unescape(url_escape(text), back));
    EXPECT_EQ(back, text);
    ASSERT_TRUE(url_unescape(url_escape_path(text), back));
    EXPECT_EQ(back, text);
    QueryParameters parsed;
    ASSERT_TRUE(parse_query(format_query({{"k", text}, {text, "v"}}), parsed));
    EXPECT_EQ(parsed, (QueryParameters{{"k", text}, {text, "v"}}));
  }
  EXPECT_EQ(url_escape("a/b c"), "a%2Fb%20c");
  EXPECT_EQ(url_escape_path("a/b c"), "a/b%20c");
}

TEST(Url, QueriesAreBounded) {
  QueryParameters out;
  EXPECT_TRUE(parse_query("a=1&&b&c=%20+", out));
  EXPECT_EQ(out, (QueryParameters{{"a", "1"}, {"b", ""}, {"c", "  "}}));
  EXPECT_FALSE(parse_query("a=%", out));
  EXPECT_FALSE(parse_query("a=%4", out));
  EXPECT_FALSE(parse_query("a=%00", out));
  EXPECT_FALSE(parse_query(std::string_view("a=\0b", 4), out));
  std::string many;
  for (std::size_t i = 0; i <= kMaxQueryParameters; ++i) many += "a=1&";
  EXPECT_FALSE(parse_query(many, out));
}

TEST(Url, LoopbackIsKnown) {
  for (const char* host : {"localhost", "127.0.0.1", "127.9.9.9", "::1"}) {
    EXPECT_TRUE(is_loopback_host(host)) << host;
  }
  for (const char* host : {"", "10.0.0.1", "example.com", "127.0.0.1.example.com", "::2"}) {
    EXPECT_FALSE(is_loopback_host(host)) << host;
  }
}

}  // namespace
}  // namespace ratchet::net
