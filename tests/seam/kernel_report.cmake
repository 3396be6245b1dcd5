# SPDX-License-Identifier: Apache-2.0
# Target and test kernel_report: what the compiler made of each kernel. Each kernels/*.cu is compiled once more, to PTX, and
# assembled by ptxas -v for Hopper; the program kernel_report reads both. Target kernel_reports prints that table, and the
# same for Ampere, which the test leaves out because it takes as long again.
find_program(UNETDN_PTXAS ptxas HINTS ${CUDAToolkit_BIN_DIR} REQUIRED)
mark_as_advanced(UNETDN_PTXAS)

file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/*.cu)
set(folder ${CMAKE_CURRENT_BINARY_DIR}/kernels)
set(architectures 80 90)
foreach(architecture IN LISTS architectures)
  file(MAKE_DIRECTORY ${folder}/sm_${architecture})
  set(files_of_${architecture} "")
endforeach()
set(includes "")
set(entries "")
foreach(source IN LISTS sources)
  get_filename_component(name ${source} NAME_WE)
  unetdn_kernel_list(${source} headers kernels)
  if(NOT kernels)
    continue()
  endif()
  list(JOIN headers "\n" headers)
  string(APPEND includes "${headers}\n")
  foreach(kernel IN LISTS kernels)
    string(APPEND entries "    entry<${kernel}>(),\n")
  endforeach()
  get_source_file_property(options ${source} TARGET_DIRECTORY unetdn_cuda COMPILE_OPTIONS)  # as in the library
  if(NOT options)
    set(options "")
  endif()
  foreach(architecture IN LISTS architectures)
    set(output ${folder}/sm_${architecture}/${name})
    add_custom_command(OUTPUT ${output}.ptx
      COMMAND ${CMAKE_CUDA_COMPILER} -std=c++20 -ptx -arch=compute_${architecture} --diag-suppress=554 ${options}
        -I${PROJECT_SOURCE_DIR}/include -I${PROJECT_SOURCE_DIR}/kernels -MD -MF ${output}.d ${source} -o ${output}.ptx
      DEPENDS ${source} DEPFILE ${output}.d VERBATIM)
    add_custom_command(OUTPUT ${output}.txt
      COMMAND sh -c "\"$1\" -v -arch=$2 \"$3.ptx\" -o \"$3.cubin\" 2> \"$3.txt\" || { cat \"$3.txt\"; exit 1; }"
        ptxas ${UNETDN_PTXAS} sm_${architecture} ${output}
      DEPENDS ${output}.ptx VERBATIM)
    list(APPEND files_of_${architecture} ${output}.ptx ${output}.txt)
  endforeach()
endforeach()
file(CONFIGURE OUTPUT ${folder}/headers.inc CONTENT "${includes}")
file(CONFIGURE OUTPUT ${folder}/instantiations.inc CONTENT "${entries}")

add_executable(kernel_report seam/kernel_report.cpp ${files_of_90})
target_include_directories(kernel_report PRIVATE ${folder})
target_link_libraries(kernel_report PRIVATE unetdn::unetdn)
unetdn_warnings(kernel_report)
add_test(NAME kernel_report COMMAND kernel_report ${folder}/sm_90)
add_custom_target(kernel_reports COMMAND kernel_report ${folder}/sm_80 COMMAND kernel_report ${folder}/sm_90
  DEPENDS ${files_of_80} USES_TERMINAL VERBATIM)
