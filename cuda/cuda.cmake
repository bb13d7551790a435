# The GPU, by SFUMATO_CUDA:
#   off       nothing of cuda/ is compiled
#   emulated  cuda/ is compiled by the C++ compiler, with the emulator in the place of NVIDIA's runtime
#   on        nvcc compiles cuda/*.cu and the sources that give functions to a device: those that include
#             tensor/for_each.h, or a header that does
set(SFUMATO_CUDA_ARCHITECTURES 90a CACHE STRING "What nvcc compiles for; `release` stands for all that is supported")
if(SFUMATO_CUDA STREQUAL "off")
  return()
endif()
file(GLOB cuda_sources CONFIGURE_DEPENDS cuda/*.cu cuda/*.cpp)
if(SFUMATO_CUDA STREQUAL "emulated")
  list(REMOVE_ITEM cuda_sources ${PROJECT_SOURCE_DIR}/cuda/runtime.cu)
  file(GLOB emulator_sources CONFIGURE_DEPENDS cuda/emulator/*.cpp)
  set_source_files_properties(${cuda_sources} PROPERTIES LANGUAGE CXX)
  set_source_files_properties(${cuda_sources} ${emulator_sources} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  target_sources(sfumato PRIVATE ${cuda_sources} ${emulator_sources})
  target_compile_definitions(sfumato PUBLIC SFUMATO_CUDA_EMULATED=1)
  target_compile_definitions(sfumato_rest PRIVATE SFUMATO_CUDA_EMULATED=1)
  target_compile_definitions(sfumato PRIVATE SFUMATO_CUDA=1)
  if(SFUMATO_COUNT_ACCESSES)
    if(NOT CMAKE_CXX_COMPILER_ID MATCHES Clang)
      message(FATAL_ERROR "SFUMATO_COUNT_ACCESSES: expected clang, got ${CMAKE_CXX_COMPILER_ID}")
    endif()
    set_property(SOURCE ${cuda_sources} ${SFUMATO_DEVICE_SOURCES} APPEND PROPERTY COMPILE_OPTIONS
                 -fsanitize-coverage=func,trace-loads,trace-stores)
    target_compile_definitions(sfumato PUBLIC SFUMATO_COUNT_ACCESSES=1)
    target_compile_definitions(sfumato_rest PRIVATE SFUMATO_COUNT_ACCESSES=1)
  endif()
  # The emulator's own data is shared by all fibers, which the thread sanitizer takes for threads.
  if(SFUMATO_SANITIZE STREQUAL "thread")
    set_source_files_properties(${emulator_sources} PROPERTIES COMPILE_OPTIONS
      "-fno-sanitize=thread;-D__SANITIZE_THREAD__=1")
  elseif(SFUMATO_SANITIZE MATCHES "address")  # clang does not say so by g++'s macro
    set_source_files_properties(${emulator_sources} PROPERTIES COMPILE_OPTIONS "-D__SANITIZE_ADDRESS__=1")
  endif()
  return()
endif()
if(NOT SFUMATO_CUDA STREQUAL "on")
  message(FATAL_ERROR "SFUMATO_CUDA: expected off, on or emulated, got '${SFUMATO_CUDA}'")
endif()

if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX} AND EXISTS /usr/local/cuda/bin/nvcc)
  set(CMAKE_CUDA_COMPILER /usr/local/cuda/bin/nvcc)
endif()
set(architectures ${SFUMATO_CUDA_ARCHITECTURES})
if(architectures STREQUAL "release")
  set(architectures 80-real 86-real 89-real 90a-real 100-real 120)  # of the last one PTX too, for what comes after it
endif()
set(CMAKE_CUDA_ARCHITECTURES ${architectures})
# CMake before 3.26 does not know that nvcc has C++20.
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
enable_language(CUDA)
list(APPEND CMAKE_CUDA_COMPILE_FEATURES cuda_std_20)
find_package(CUDAToolkit REQUIRED)

set_source_files_properties(${SFUMATO_DEVICE_SOURCES} PROPERTIES LANGUAGE CUDA)
if(CMAKE_UNITY_BUILD)  # CMake before 3.31 joins no files of CUDA; most of their time goes to the headers
  list(REMOVE_ITEM SFUMATO_DEVICE_SOURCES ${PROJECT_SOURCE_DIR}/tensor/rng.cpp)  # has options of its own
  set_source_files_properties(${SFUMATO_DEVICE_SOURCES} PROPERTIES HEADER_FILE_ONLY ON)
  foreach(part RANGE 3)
    set(includes "")
    list(LENGTH SFUMATO_DEVICE_SOURCES count)
    foreach(i RANGE ${part} ${count} 4)
      if(i LESS count)
        list(GET SFUMATO_DEVICE_SOURCES ${i} source)
        string(APPEND includes "#include \"${source}\"\n")
      endif()
    endforeach()
    file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/device_sources_${part}.cu CONTENT "${includes}")
    list(APPEND cuda_sources ${PROJECT_BINARY_DIR}/device_sources_${part}.cu)
  endforeach()
endif()
target_sources(sfumato PRIVATE ${cuda_sources})
set_target_properties(sfumato PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_ARCHITECTURES "${architectures}")
target_include_directories(sfumato PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
target_compile_definitions(sfumato PRIVATE SFUMATO_CUDA=1
                           SFUMATO_CUBLASLT="libcublasLt.so.${CUDAToolkit_VERSION_MAJOR}")
# nvcc does not take {fmt}'s constant-evaluated checks of formats in C++20, of fmt 9 at least.
set(SFUMATO_NVCC_OPTIONS $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr -DFMT_USE_CONSTEXPR=1
                         -diag-suppress=177 -Xcompiler=-Wall,-Wextra>)
target_compile_options(sfumato PRIVATE ${SFUMATO_NVCC_OPTIONS})
target_link_libraries(sfumato PRIVATE CUDA::cudart_static ${CMAKE_DL_LIBS})
