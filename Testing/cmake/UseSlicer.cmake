# Slicer's directories for scripted modules and its two macros that this extension uses.

set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-5.12/qt-scripted-modules")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
if(NOT DEFINED BUILD_TESTING)
  set(BUILD_TESTING ON)
endif()

set(_record "${CMAKE_BINARY_DIR}/record.txt")
file(WRITE "${_record}" "")

macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY_SLICER "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_SLICER_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: unknown keywords ${MY_SLICER_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT DEFINED MY_SLICER_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: NAME is mandatory")
  endif()
  set(_destination "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
  set(_copies)
  foreach(_kind SCRIPTS RESOURCES)
    foreach(_file ${MY_SLICER_${_kind}})
      if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${_file}")
        message(FATAL_ERROR "slicerMacroBuildScriptedModule(${_kind}) given nonexistent file '${_file}'")
      endif()
      if(_kind STREQUAL "SCRIPTS" AND NOT _file MATCHES "\\.py$")
        message(FATAL_ERROR "slicerMacroBuildScriptedModule(SCRIPTS) given '${_file}', which is no Python file")
      endif()
      file(APPEND "${_record}" "${_kind} ${_file}\n")
      add_custom_command(
        OUTPUT "${_destination}/${_file}"
        COMMAND ${CMAKE_COMMAND} -E copy "${CMAKE_CURRENT_SOURCE_DIR}/${_file}" "${_destination}/${_file}"
        DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${_file}"
        VERBATIM
        )
      list(APPEND _copies "${_destination}/${_file}")
    endforeach()
  endforeach()
  add_custom_target(Copy${MY_SLICER_NAME}Files ALL DEPENDS ${_copies})
  # As Slicer does: the whole folder is installed, with everything that was put there.
  install(DIRECTORY "${_destination}/" DESTINATION "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}" USE_SOURCE_PERMISSIONS)
endmacro()

macro(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "slicer_add_python_unittest: unknown keywords ${MY_UNPARSED_ARGUMENTS}")
  endif()
  # Slicer takes a path that is not absolute as it is, so that only a bare name or an absolute path is found later.
  get_filename_component(_folder "${MY_SCRIPT}" PATH)
  if("${_folder}" STREQUAL "")
    set(_folder "${CMAKE_CURRENT_SOURCE_DIR}")
  endif()
  get_filename_component(_name "${MY_SCRIPT}" NAME)
  if(NOT IS_ABSOLUTE "${_folder}" OR NOT EXISTS "${_folder}/${_name}")
    message(FATAL_ERROR "slicer_add_python_unittest: '${MY_SCRIPT}' would not be found")
  endif()
  file(APPEND "${_record}" "TEST ${_folder}/${_name}\n")
endmacro()
