# One mesh in two regions. Each has its own network, sentries and hooks; the controller is in one of them. A region that is lost
# is so many sentries lost: validators keep their tunnels to the others, with the controller or without it. Networks are not
# joined: hosts find each other by their public addresses, through WireGuard.

provider "aws" {
  alias  = "home"
  region = var.regions.home
}

provider "aws" {
  alias  = "away"
  region = var.regions.away
}

data "aws_caller_identity" "current" {
  provider = aws.home
}

data "aws_partition" "current" {
  provider = aws.home
}

locals {
  name      = "picket"
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
}

module "network_home" {
  source    = "../../modules/aws/network"
  providers = { aws = aws.home }

  name  = local.name
  zones = var.zones.home
}

module "network_away" {
  source    = "../../modules/aws/network"
  providers = { aws = aws.away }

  name  = local.name
  cidr  = "10.41.0.0/16"
  zones = var.zones.away
}

module "controller" {
  source    = "../../modules/aws/controller"
  providers = { aws = aws.home }

  name                   = local.name
  vpc_id                 = module.network_home.vpc_id
  subnet_id              = module.network_home.private_subnet_ids[var.zones.home[0]]
  balancer_subnet_ids    = module.network_home.public_subnet_ids
  agents_prefix_list_ids = { all = module.network_home.prefix_list_ids["agents"] }
  ami_id                 = var.ami_ids.home
  kms_key_arn            = module.network_home.kms_key_arn
  aws_certificates       = var.aws_certificates
  enroll                 = concat(module.sentries_home[*].enroll_rule, module.sentries_away[*].enroll_rule)

  hooks = {
    host             = var.hooks.host
    certificate_arn  = var.hooks.certificate_arn
    zone_id          = var.hooks.zone_id
    prefix_list_ids  = { all = module.network_home.prefix_list_ids["hooks"] }
    groups           = [{ account = local.account, regions = values(var.regions), groups = ["${local.name}-*"] }]
    autoscaling_arns = [for region in values(var.regions) : "arn:${local.partition}:autoscaling:${region}:${local.account}:autoScalingGroup:*:autoScalingGroupName/${local.name}-*"]
  }
}

module "sentries_home" {
  source    = "../../modules/aws/sentries"
  providers = { aws = aws.home }
  count     = var.ca_fingerprint == null ? 0 : 1

  name                      = local.name
  pool                      = "home"
  vpc_id                    = module.network_home.vpc_id
  subnet_ids                = module.network_home.public_subnet_ids
  controller_url            = module.controller.url
  ca_fingerprint            = var.ca_fingerprint
  ami_id                    = var.ami_ids.home
  kms_key_arn               = module.network_home.kms_key_arn
  wireguard_prefix_list_ids = { all = module.network_home.prefix_list_ids["wireguard"] }
  ports                     = { p2p = { port = 7100, prefix_list_ids = { all = module.network_home.prefix_list_ids["p2p"] } } }
}

module "sentries_away" {
  source    = "../../modules/aws/sentries"
  providers = { aws = aws.away }
  count     = var.ca_fingerprint == null ? 0 : 1

  name                      = local.name
  pool                      = "away"
  vpc_id                    = module.network_away.vpc_id
  subnet_ids                = module.network_away.public_subnet_ids
  controller_url            = module.controller.url
  ca_fingerprint            = var.ca_fingerprint
  ami_id                    = var.ami_ids.away
  kms_key_arn               = module.network_away.kms_key_arn
  wireguard_prefix_list_ids = { all = module.network_away.prefix_list_ids["wireguard"] }
  ports                     = { p2p = { port = 7100, prefix_list_ids = { all = module.network_away.prefix_list_ids["p2p"] } } }
}

module "lifecycle_home" {
  source    = "../../modules/aws/lifecycle"
  providers = { aws = aws.home }
  count     = var.ca_fingerprint == null ? 0 : 1

  name        = local.name
  group_names = { sentries = module.sentries_home[0].group_name }
  hook_url    = module.controller.hook_url
  hook_secret = module.controller.hook_secret
  kms_key_arn = module.network_home.kms_key_arn
}

module "lifecycle_away" {
  source    = "../../modules/aws/lifecycle"
  providers = { aws = aws.away }
  count     = var.ca_fingerprint == null ? 0 : 1

  name        = local.name
  group_names = { sentries = module.sentries_away[0].group_name }
  hook_url    = module.controller.hook_url
  hook_secret = module.controller.hook_secret
  kms_key_arn = module.network_away.kms_key_arn
}
