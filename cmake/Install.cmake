# cmake --install build/release --prefix ~/.local
# The programs live in one folder, since greta-orch brings greta-agent and greta-infer to nodes from beside itself; bin
# holds links to them.
include(GNUInstallDirs)

set(GRETA_PROGRAMS greta-orch greta-agent greta-infer greta-gguf greta-gpu-probe)
set(GRETA_HOME ${CMAKE_INSTALL_LIBDIR}/greta)
install(TARGETS ${GRETA_PROGRAMS} greta_sqlite DESTINATION ${GRETA_HOME})
install(FILES ${PROJECT_BINARY_DIR}/bin/libcjson.so.1 DESTINATION ${GRETA_HOME})
foreach(program ${GRETA_PROGRAMS})
  install(CODE "
    set(bin \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}\")
    file(MAKE_DIRECTORY \"\${bin}\")
    file(CREATE_LINK ../${GRETA_HOME}/${program} \"\${bin}/${program}\" SYMBOLIC)")
endforeach()

install(DIRECTORY ${PROJECT_BINARY_DIR}/share/man/ DESTINATION ${CMAKE_INSTALL_MANDIR})
install(FILES ${PROJECT_BINARY_DIR}/share/completion/greta-orch.bash
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME greta-orch)
install(FILES ${PROJECT_BINARY_DIR}/share/completion/_greta-orch
        DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES ${PROJECT_BINARY_DIR}/share/completion/greta-orch.fish
        DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(DIRECTORY schemas/ DESTINATION ${CMAKE_INSTALL_DATADIR}/greta/schemas FILES_MATCHING PATTERN "*.schema.json")
install(DIRECTORY docs examples DESTINATION ${CMAKE_INSTALL_DATADIR}/greta)
