# The HTML report's page: main.js and its chart library, bundled by esbuild at the versions of package-lock.json and
# embedded. Without npm, or without a registry it can reach, everything else is built and `report --html` says why it
# can't be had.
option(GRETA_HTML "bundle the HTML report (needs npm)" ON)
set(page_dir ${CMAKE_CURRENT_BINARY_DIR}/page)
set(page_source ${CMAKE_CURRENT_LIST_DIR})
set(GRETA_HTML_FOUND FALSE)
find_program(GRETA_NPM npm)
if(GRETA_HTML AND GRETA_NPM)
  file(SHA256 ${page_source}/package-lock.json html_lock)
  if(NOT EXISTS ${page_dir}/installed-${html_lock})
    file(MAKE_DIRECTORY ${page_dir})
    configure_file(${page_source}/package.json ${page_dir}/package.json COPYONLY)
    configure_file(${page_source}/package-lock.json ${page_dir}/package-lock.json COPYONLY)
    execute_process(
      COMMAND ${GRETA_NPM} ci --ignore-scripts --no-audit --no-fund --fetch-retries=1 --fetch-timeout=30000
      WORKING_DIRECTORY ${page_dir} RESULT_VARIABLE html_failed OUTPUT_QUIET ERROR_VARIABLE html_error TIMEOUT 180)
    if(html_failed)
      message(STATUS "report --html is left out: npm ci failed: ${html_error}")
    else()
      file(WRITE ${page_dir}/installed-${html_lock} "")
    endif()
  endif()
  if(EXISTS ${page_dir}/installed-${html_lock})
    set(GRETA_HTML_FOUND TRUE)
  endif()
elseif(GRETA_HTML)
  message(STATUS "report --html is left out: there is no npm")
endif()

if(GRETA_HTML_FOUND)
  set(page_js ${page_dir}/page.js)
  add_custom_command(OUTPUT ${page_js}
    COMMAND ${CMAKE_COMMAND} -E env NODE_PATH=${page_dir}/node_modules ${page_dir}/node_modules/.bin/esbuild
            ${page_source}/main.js --bundle --minify --format=iife --target=es2021 --log-level=warning
            --legal-comments=inline --outfile=${page_js}
    DEPENDS ${page_source}/main.js ${page_dir}/installed-${html_lock} VERBATIM)
  greta_embed(greta_orchestrator html_page_js ${page_js})
  greta_embed(greta_orchestrator html_page_css ${page_source}/page.css)
  target_compile_definitions(greta_orchestrator PRIVATE GRETA_HTML)
endif()
