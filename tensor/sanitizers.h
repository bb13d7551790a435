// Which sanitizers this was compiled with: g++ and clang have different macros for it.
#pragma once

namespace sfumato {

#if defined(__has_feature)
#define SFUMATO_HAS_FEATURE(name) __has_feature(name)
#else
#define SFUMATO_HAS_FEATURE(name) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || SFUMATO_HAS_FEATURE(address_sanitizer)
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif

#if defined(__SANITIZE_THREAD__) || SFUMATO_HAS_FEATURE(thread_sanitizer)
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif

#undef SFUMATO_HAS_FEATURE

}  // namespace sfumato
