# Slicer reads these variables when it packs an extension; written down for the test.
foreach(_name HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if("${EXTENSION_${_name}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${_name} is not set")
  endif()
  file(APPEND "${CMAKE_BINARY_DIR}/record.txt" "EXTENSION_${_name} ${EXTENSION_${_name}}\n")
endforeach()
