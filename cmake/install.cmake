# SPDX-License-Identifier: Apache-2.0
include(CMakePackageConfigHelpers)

set(unetdn_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/unetdn)

set(unetdn_targets unetdn unetdn_image unetdn_compiled)
if(UNETDN_HAS_CUDA)
  list(APPEND unetdn_targets unetdn_cuda)
endif()
install(TARGETS ${unetdn_targets} EXPORT unetdnTargets)
install(EXPORT unetdnTargets NAMESPACE unetdn:: DESTINATION ${unetdn_package_dir})
install(DIRECTORY include/unetdn kernels/unetdn DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.hpp" PATTERN "*.cuh" PATTERN "*.inl")

configure_package_config_file(cmake/unetdnConfig.cmake.in unetdnConfig.cmake
  INSTALL_DESTINATION ${unetdn_package_dir})
write_basic_package_version_file(unetdnConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/unetdnConfig.cmake ${PROJECT_BINARY_DIR}/unetdnConfigVersion.cmake
  DESTINATION ${unetdn_package_dir})
