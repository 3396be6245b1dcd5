# SPDX-License-Identifier: Apache-2.0
# How this project's own targets are compiled. Nothing here reaches a consumer's targets.

# unetdn_warnings(target): the warnings under which this project stays silent.
function(unetdn_warnings target)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wconversion -Wno-sign-conversion -Wshadow>)
  if(UNETDN_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
  endif()
endfunction()

if(UNETDN_SANITIZE STREQUAL "address")
  set(sanitize -fsanitize=address,undefined -fno-sanitize-recover=all)
elseif(UNETDN_SANITIZE STREQUAL "thread")
  set(sanitize -fsanitize=thread)
elseif(UNETDN_SANITIZE STREQUAL "fuzzer")
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "UNETDN_SANITIZE=fuzzer needs clang++: set CMAKE_CXX_COMPILER, or use the preset fuzz")
  endif()
  set(sanitize -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all)
elseif(UNETDN_SANITIZE)
  message(FATAL_ERROR "UNETDN_SANITIZE is '${UNETDN_SANITIZE}': it must be address, thread, fuzzer or empty")
endif()
if(UNETDN_SANITIZE)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fno-omit-frame-pointer> "$<$<COMPILE_LANGUAGE:CXX>:${sanitize}>")
  add_link_options(${sanitize})
endif()

if(PROJECT_IS_TOP_LEVEL)
  # ccache, where there is one, makes a second build cheap.
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release)
  endif()
  find_program(UNETDN_CCACHE ccache)
  if(UNETDN_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${UNETDN_CCACHE})
  endif()
endif()
