# SPDX-License-Identifier: Apache-2.0

# ptqc_module(NAME folder [RECURSE] [USES lib...]): static library pq_NAME of
# the folder's *.c (with RECURSE also of its subfolders).
function(ptqc_module name folder)
  cmake_parse_arguments(M "RECURSE" "" "USES" ${ARGN})
  set(mode GLOB)
  if(M_RECURSE)
    set(mode GLOB_RECURSE)
  endif()
  file(${mode} sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*.c)
  if(sources)
    add_library(pq_${name} STATIC ${sources})
    target_link_libraries(pq_${name} PUBLIC ${M_USES})
  else()
    add_library(pq_${name} INTERFACE)
    target_link_libraries(pq_${name} INTERFACE ${M_USES})
  endif()
endfunction()
