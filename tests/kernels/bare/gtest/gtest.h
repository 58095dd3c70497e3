#pragma once

// What the GPU tests use of GoogleTest, for nodes that have nvcc and CMake and nothing else.
// On the include path only where GoogleTest is not found (tests/kernels/CMakeLists.txt).
//
// Holds: TEST, EXPECT_TRUE, ASSERT_TRUE, EXPECT_EQ, ASSERT_EQ and GTEST_SKIP, each with `<<`, and
// main(). Output lines and exit status follow GoogleTest's: status 0 when nothing failed.
// One source file a program.

#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

namespace ratchet_bare_gtest {

struct Case {
  std::string name;
  void (*body)();
};

struct Run {
  std::vector<Case> cases;
  bool failed = false;   // the running test
  bool skipped = false;  // the running test
};

inline Run& run() {
  static Run instance;
  return instance;
}

inline bool register_case(const char* suite, const char* name, void (*body)()) {
  run().cases.push_back({std::string(suite) + "." + name, body});
  return true;
}

class Message {
 public:
  template <class T>
  Message& operator<<(const T& value) {
    text_ << value;
    return *this;
  }
  [[nodiscard]] std::string text() const { return text_.str(); }

 private:
  std::ostringstream text_;
};

struct Failure {
  const char* file;
  int line;
  const char* condition;
  void operator=(const Message& message) const {
    run().failed = true;
    std::printf("%s:%d: Failure\nExpected: %s\n%s\n", file, line, condition,
                message.text().c_str());
  }
};

struct Skip {
  void operator=(const Message& message) const {
    run().skipped = true;
    std::printf("Skipped\n%s\n", message.text().c_str());
  }
};

inline int run_all() {
  int passed = 0;
  std::vector<std::string> failed, skipped;
  for (const Case& test : run().cases) {
    run().failed = run().skipped = false;
    std::printf("[ RUN      ] %s\n", test.name.c_str());
    test.body();
    const char* verdict = run().failed    ? "[  FAILED  ]"
                          : run().skipped ? "[  SKIPPED ]"
                                          : "[       OK ]";
    std::printf("%s %s\n", verdict, test.name.c_str());
    std::fflush(stdout);
    if (run().failed) {
      failed.push_back(test.name);
    } else if (run().skipped) {
      skipped.push_back(test.name);
    } else {
      ++passed;
    }
  }
  std::printf("[  PASSED  ] %d tests.\n", passed);
  if (!skipped.empty()) std::printf("[  SKIPPED ] %zu tests.\n", skipped.size());
  for (const std::string& name : failed) std::printf("[  FAILED  ] %s\n", name.c_str());
  return failed.empty() ? 0 : 1;
}

}  // namespace ratchet_bare_gtest

#define RATCHET_BARE_CHECK(condition, text, on_failure)                    \
  switch (0)                                                               \
  case 0:                                                                  \
  default:                                                                 \
    if (condition)                                                         \
      ;                                                                    \
    else                                                                   \
      on_failure ::ratchet_bare_gtest::Failure{__FILE__, __LINE__, text} = \
          ::ratchet_bare_gtest::Message()

#define EXPECT_TRUE(condition) RATCHET_BARE_CHECK(condition, #condition, )
#define ASSERT_TRUE(condition) RATCHET_BARE_CHECK(condition, #condition, return)
#define EXPECT_EQ(a, b) RATCHET_BARE_CHECK((a) == (b), #a " == " #b, )
#define ASSERT_EQ(a, b) RATCHET_BARE_CHECK((a) == (b), #a " == " #b, return)
#define GTEST_SKIP() return ::ratchet_bare_gtest::Skip{} = ::ratchet_bare_gtest::Message()

#define TEST(suite, name)                                                  \
  static void suite##_##name();                                            \
  [[maybe_unused]] static const bool suite##_##name##_registered =         \
      ::ratchet_bare_gtest::register_case(#suite, #name, &suite##_##name); \
  static void suite##_##name()

int main() { return ::ratchet_bare_gtest::run_all(); }
