# What every target of the project has in common.

set(GRETA_WARNINGS
  -Wall -Wextra -Wshadow -Wvla -Walloca -Wpointer-arith -Wwrite-strings -Wundef -Wformat=2 -Wno-format-nonliteral
  -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wno-missing-field-initializers)

function(greta_defaults target)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/generated)
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:C>:${GRETA_WARNINGS} -include ${PROJECT_SOURCE_DIR}/base/banned.h>
    -fno-omit-frame-pointer)
  if(GRETA_WERROR)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:C>:-Werror>)
  endif()
  if(GRETA_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${GRETA_SANITIZE} -fno-sanitize-recover=all)
    target_link_options(${target} PRIVATE -fsanitize=${GRETA_SANITIZE})
  endif()
endfunction()

# greta_library(base SOURCES a.c b.c LINK other libs): the one static library of a folder.
function(greta_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(greta_${name} STATIC ${ARG_SOURCES})
  greta_defaults(greta_${name})
  target_link_libraries(greta_${name} PUBLIC ${ARG_LINK})
endfunction()

# greta_program(greta-agent SOURCES main.c LINK greta_agent): a program in build/PRESET/bin.
function(greta_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  greta_defaults(${name})
  target_link_libraries(${name} PRIVATE ${ARG_LINK})
endfunction()

# greta_embed(greta_db db_views_sql views.sql): the file's bytes and a NUL become `const char db_views_sql[]` in the target.
function(greta_embed target symbol file)
  get_filename_component(file ${file} ABSOLUTE)
  set(output ${CMAKE_CURRENT_BINARY_DIR}/${symbol}.c)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/embed.c.in ${output} @ONLY)
  set_source_files_properties(${output} PROPERTIES OBJECT_DEPENDS ${file})
  target_sources(${target} PRIVATE ${output})
endfunction()
