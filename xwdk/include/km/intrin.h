/* Stands before mingw's header of this name, which pulls in every SIMD header; kernel headers need none of it. */
#pragma once
