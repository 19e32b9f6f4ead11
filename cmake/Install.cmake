# SPDX-License-Identifier: MIT
# What an installation consists of, for find_package(Freehold) and for pkg-config.
#
# The shared library needs nothing of its user. The static one needs the dependencies' own packages, so it has an export of
# its own, which find_package(Freehold COMPONENTS static) reads.

include(CMakePackageConfigHelpers)

set(FREEHOLD_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/Freehold)

install(DIRECTORY include/freehold DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(TARGETS freehold EXPORT FreeholdTargets)
install(TARGETS freehold_static EXPORT FreeholdStaticTargets)
install(EXPORT FreeholdTargets NAMESPACE Freehold:: DESTINATION ${FREEHOLD_CMAKE_DIR})
install(EXPORT FreeholdStaticTargets NAMESPACE Freehold:: DESTINATION ${FREEHOLD_CMAKE_DIR})

configure_package_config_file(cmake/FreeholdConfig.cmake.in FreeholdConfig.cmake INSTALL_DESTINATION ${FREEHOLD_CMAKE_DIR})
write_basic_package_version_file(FreeholdConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/FreeholdConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/FreeholdConfigVersion.cmake
        DESTINATION ${FREEHOLD_CMAKE_DIR})

set(FREEHOLD_PC_LIBS_PRIVATE "-pthread")
if(FREEHOLD_ALLOCATOR STREQUAL "mimalloc")
  # The order matters, see FREEHOLD_DEPENDENCIES. mimalloc has no pkg-config file.
  string(APPEND FREEHOLD_PC_LIBS_PRIVATE " -lc -lmimalloc")
endif()
list(TRANSFORM FREEHOLD_PUBLIC_DEFINITIONS PREPEND " -D" OUTPUT_VARIABLE FREEHOLD_PC_DEFINITIONS)
list(JOIN FREEHOLD_PC_DEFINITIONS "" FREEHOLD_PC_DEFINITIONS)
# The paths are relative to the file itself, so that an installation may be moved, unless they were given as absolute ones.
foreach(which IN ITEMS LIBDIR INCLUDEDIR)
  cmake_path(IS_ABSOLUTE CMAKE_INSTALL_${which} absolute)
  if(absolute)
    set(FREEHOLD_PC_${which} ${CMAKE_INSTALL_${which}})
  else()
    set(FREEHOLD_PC_${which} "\${prefix}/${CMAKE_INSTALL_${which}}")
  endif()
endforeach()
cmake_path(IS_ABSOLUTE CMAKE_INSTALL_LIBDIR absolute)
if(absolute)
  set(FREEHOLD_PC_PREFIX ${CMAKE_INSTALL_PREFIX})
else()
  file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  string(REGEX REPLACE "/$" "" up "${up}")
  set(FREEHOLD_PC_PREFIX "\${pcfiledir}/${up}")
endif()
configure_file(cmake/freehold.pc.in freehold.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/freehold.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
