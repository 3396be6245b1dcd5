# SPDX-License-Identifier: Apache-2.0
# unetdn_emulated_kernels: the kernels of kernels/*.cu on the emulated device, compiled once for the tests and benchmarks that
# run them. Who links it includes emulated_kernels.hpp before the first launch: it keeps the compiler from translating them
# again. The .cu files are the one list of instances, so one that is missing there is a link error here as well.

# unetdn_kernel_list(source headers kernels): the kernels' headers that a .cu file includes, and the kernels that it
# instantiates. Configures anew when the file changes.
function(unetdn_kernel_list source headers kernels)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
  file(STRINGS ${source} included REGEX "^#include <unetdn/kernels/")
  file(STRINGS ${source} launches REGEX "^template void launch")
  set(found "")
  foreach(launch IN LISTS launches)
    string(REGEX MATCH "kernels::([^&]*) const&" unused "${launch}")
    list(APPEND found "kernels::${CMAKE_MATCH_1}")
  endforeach()
  set(${headers} "${included}" PARENT_SCOPE)
  set(${kernels} "${found}" PARENT_SCOPE)
endfunction()

set(folder ${CMAKE_CURRENT_BINARY_DIR}/emulated_kernels)
set(all_headers "")
set(declarations "")
set(instances "")
set(templates "")
file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/*.cu)
foreach(source IN LISTS sources)
  unetdn_kernel_list(${source} headers kernels)
  if(UNETDN_SANITIZE)  # fp16 runs bf16's code, and tests leave it out as well
    list(FILTER kernels EXCLUDE REGEX fp16)
  endif()
  if(NOT kernels)
    continue()
  endif()
  get_filename_component(name ${source} NAME_WE)
  list(APPEND all_headers ${headers})
  set(definitions "")
  foreach(kernel IN LISTS kernels)
    string(APPEND declarations "extern template void launch(emulated&, extent3, ${kernel} const&);\n")
    string(APPEND definitions "template void launch(emulated&, extent3, ${kernel} const&);\n")
    string(REGEX REPLACE "kernels::([^<]*).*" "    \"\\1\"," name_of_template "${kernel}")
    list(APPEND templates ${name_of_template})
  endforeach()
  list(JOIN headers "\n" headers)
  file(CONFIGURE OUTPUT ${folder}/${name}.cpp @ONLY CONTENT
    "#include <unetdn/devices/emulated.hpp>\n@headers@\n\nnamespace unetdn {\n@definitions@}\n")
  list(APPEND instances ${folder}/${name}.cpp)
endforeach()
list(REMOVE_DUPLICATES all_headers)
list(JOIN all_headers "\n" all_headers)
file(CONFIGURE OUTPUT ${folder}/include/emulated_kernels.hpp @ONLY CONTENT
  "#pragma once\n#include <unetdn/devices/emulated.hpp>\n@all_headers@\n\nnamespace unetdn {\n@declarations@}\n")
# Their templates' names, for a test that runs them all.
list(REMOVE_DUPLICATES templates)
list(JOIN templates "\n" templates)
file(CONFIGURE OUTPUT ${folder}/include/emulated_kernel_names.hpp @ONLY CONTENT
  "#pragma once\n\ninline constexpr char const* kernel_templates[] = {\n@templates@\n};\n")

add_library(unetdn_emulated_kernels STATIC EXCLUDE_FROM_ALL ${instances})
# Most are small beside what they include.
set_target_properties(unetdn_emulated_kernels PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 4)
target_link_libraries(unetdn_emulated_kernels PUBLIC unetdn)
target_include_directories(unetdn_emulated_kernels INTERFACE ${folder}/include)
unetdn_warnings(unetdn_emulated_kernels)
