{
  "targets": [
    {
      "target_name": "vfio",
      "sources": ["<!@(cat native/sources.txt)"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=9", "NAPI_DISABLE_CPP_EXCEPTIONS"],
      "cflags!": ["-O3"],
      "cflags_cc!": ["-O3", "-fexceptions", "-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": [
        "-std=c++17",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fno-exceptions",
        "-fno-rtti",
        "-fvisibility=hidden"
      ],
      # nodelete: Node unloads an addon when the last worker that loaded it ends, but the SIGBUS
      # handler and ioctls still running on the thread pool need the code until the process ends.
      "ldflags": ["-Wl,-z,nodelete"]
    }
  ]
}
