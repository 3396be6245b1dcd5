# SPDX-License-Identifier: Apache-2.0
# unetdn::image reads and writes picture files: with libpng and libjpeg where they are found, because picture files
# are untrusted and those are the most tested readers, and with stb for the rest.

find_package(PNG QUIET)
find_package(JPEG QUIET)
find_path(UNETDN_STB_INCLUDE_DIR stb_image.h PATH_SUFFIXES stb)
mark_as_advanced(UNETDN_STB_INCLUDE_DIR)
if(NOT UNETDN_STB_INCLUDE_DIR)
  message(FATAL_ERROR "unetdn::image needs stb_image.h: run cmake/install_dependencies.sh build, "
    "or set UNETDN_STB_INCLUDE_DIR to the folder that has it")
endif()

if(PROJECT_IS_TOP_LEVEL)
  add_library(unetdn_image STATIC)
else()
  add_library(unetdn_image STATIC EXCLUDE_FROM_ALL)
endif()
add_library(unetdn::image ALIAS unetdn_image)
set_target_properties(unetdn_image PROPERTIES EXPORT_NAME image)
target_sources(unetdn_image PRIVATE ${PROJECT_SOURCE_DIR}/include/unetdn/image.cpp)
target_link_libraries(unetdn_image PUBLIC unetdn)
target_include_directories(unetdn_image SYSTEM PRIVATE ${UNETDN_STB_INCLUDE_DIR})
if(PNG_FOUND)
  target_link_libraries(unetdn_image PRIVATE PNG::PNG)
  target_compile_definitions(unetdn_image PRIVATE UNETDN_HAVE_PNG=1)
endif()
if(JPEG_FOUND)
  target_link_libraries(unetdn_image PRIVATE JPEG::JPEG)
  target_compile_definitions(unetdn_image PRIVATE UNETDN_HAVE_JPEG=1)
endif()
unetdn_warnings(unetdn_image)
