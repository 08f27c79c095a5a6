/* RtlStringCb* and RtlStringCch* are inline functions: bindings hold none of them, so nothing is declared here. */
#pragma once
