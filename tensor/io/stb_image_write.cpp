// The one place where stb's PNG writer is compiled; image.cpp includes its declarations.
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb_image_write.h>
